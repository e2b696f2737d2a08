/**
 * Doctor: looks at this machine (or at one program) and says what is missing and how to get it. Changes nothing.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { formatBytes } from './admission.js';
import { type ProgramFacts, readProgram } from './elf.js';
import { errnoOf } from './errors.js';
import { describeMachine, machineFacts } from './machine.js';
import { nativeBuild, runtimeDirectory } from './paths.js';
import { detectHierarchies } from './resources/detect.js';
import type { Finding } from './types.js';

/** Files that prove a Debian package, and what it is for. */
const PACKAGES: [name: string, file: string, purpose: string][] = [
  ['gcc', '/usr/bin/gcc', 'build'],
  ['meson', '/usr/bin/meson', 'build'],
  ['ninja-build', '/usr/bin/ninja', 'build'],
  ['pkg-config', '/usr/bin/pkg-config', 'build'],
  ['libfuse3-dev', '/usr/include/fuse3/fuse_lowlevel.h', 'build'],
  ['libjansson-dev', '/usr/include/jansson.h', 'build'],
  ['fuse3', '/usr/bin/fusermount3', 'kernel door'],
  ['rocksdb-tools', '/usr/bin/db_bench', 'demo'],
  ['redis-server', '/usr/bin/redis-server', 'demo'],
];
/** CAP_* numbers that the pool's first process needs. */
const CAPABILITIES: [name: string, bit: number][] = [
  ['CAP_SYS_ADMIN', 21],
  ['CAP_SYS_PTRACE', 19],
  ['CAP_KILL', 5],
];
const NOFILE_MIN = 4096;

/** Findings about the machine, or about `program` when one is named. Never rejects for what it finds. */
export async function doctor(program?: string): Promise<Finding[]> {
  if (program !== undefined) return examineProgram(program);
  return [
    await machineFinding(),
    rootFinding(),
    capabilityFinding(),
    fuseFinding(),
    kernelFinding(),
    dispatchFinding(),
    ...cgroupFindings(),
    nofileFinding(),
    runtimeFinding(),
    nativeFinding(),
    ...packageFindings(),
  ];
}

const ok = (id: string, title: string, detail: string): Finding => ({ id, title, status: 'ok', detail });
const bad = (id: string, title: string, status: 'warning' | 'missing', detail: string, fix?: string): Finding => ({
  id,
  title,
  status,
  detail,
  fix,
});

async function machineFinding(): Promise<Finding> {
  const { cpus, memoryBytes } = machineFacts();
  const words = await describeMachine();
  const sizes = `${cpus.length} cores, ${formatBytes(memoryBytes)} of memory`;
  return ok(
    'machine',
    'machine',
    words ? `${words.distribution}, ${words.model}${words.virtual ? ' (virtual)' : ''}, ${sizes}` : sizes,
  );
}

function rootFinding(): Finding {
  const uid = process.getuid?.();
  if (uid === 0) return ok('root', 'rights', 'running as root');
  return bad(
    'root',
    'rights',
    'missing',
    `running as user ${uid}; pools need root (namespaces, control groups, mounts)`,
    'run diciclo as root, for example with sudo',
  );
}

function capabilityFinding(): Finding {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readOr('/proc/self/status'))?.[1] ?? '0'}`);
  const missing = CAPABILITIES.filter(([, bit]) => (effective & (1n << BigInt(bit))) === 0n).map(([name]) => name);
  if (missing.length === 0) return ok('capabilities', 'capabilities', CAPABILITIES.map(([name]) => name).join(', '));
  return bad(
    'capabilities',
    'capabilities',
    'missing',
    `without ${missing.join(', ')}`,
    `in a container: --cap-add ${missing.map((name) => name.slice(4)).join(',')}; else run as root`,
  );
}

function fuseFinding(): Finding {
  const device = '/dev/fuse';
  try {
    closeSync(openSync(device, 'r+'));
    return ok('fuse-device', 'kernel door', `${device} can be opened`);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT')
      return bad(
        'fuse-device',
        'kernel door',
        'missing',
        `${device} does not exist`,
        'modprobe fuse; in a container: --device /dev/fuse',
      );
    if (errno === 'ENODEV' || errno === 'ENXIO')
      return bad('fuse-device', 'kernel door', 'missing', 'the kernel has no FUSE', 'modprobe fuse');
    return bad(
      'fuse-device',
      'kernel door',
      'missing',
      `${device} cannot be opened (${errno})`,
      'run as root; in a container: --device /dev/fuse',
    );
  }
}

/** What the kernel version brings to FUSE; the protocol itself is only spoken once something is mounted. */
function kernelFinding(): Finding {
  const release = os.release();
  const [major = 0, minor = 0] = release.split('.').map(Number);
  const atLeast = (a: number, b: number) => major > a || (major === a && minor >= b);
  const features = [
    atLeast(5, 14) && 'control groups killed at once (5.14)',
    atLeast(6, 6) && 'parallel direct writes (6.6)',
    atLeast(6, 9) && 'FUSE passthrough and resend (6.9)',
    atLeast(6, 14) && 'FUSE over io_uring (6.14)',
  ].filter(Boolean);
  const detail = `Linux ${release}${features.length > 0 ? `: ${features.join(', ')}` : ''}`;
  if (!atLeast(5, 6))
    return bad(
      'kernel',
      'kernel',
      'missing',
      `${detail}; 5.6 or newer is needed (openat2, pidfd)`,
      'apt-get install linux-image-amd64',
    );
  if (!atLeast(6, 9))
    return bad(
      'kernel',
      'kernel',
      'warning',
      `${detail}; before 6.9 a restarted service cannot ask for the requests that were under way: they end with an error`,
    );
  return ok('kernel', 'kernel', detail);
}

let dispatches: boolean | undefined;
/** Asked of the kernel itself where the native programs are built: versions lie in sandboxes. Undefined: nobody can be asked. */
function dispatchSupported(): boolean | undefined {
  if (dispatches !== undefined) return dispatches;
  try {
    const answer = execFileSync(nativeBuild().enter, ['--features'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 10_000,
    });
    dispatches = (JSON.parse(answer) as { dispatch: boolean }).dispatch;
  } catch {
    return undefined;
  }
  return dispatches;
}

const NO_DISPATCH = 'this kernel cannot dispatch system calls to user space (Linux 5.11 or newer on x86-64 can)';

function dispatchFinding(): Finding {
  const id = 'dispatch';
  const title = 'system call dispatch';
  const supported = dispatchSupported();
  if (supported) return ok(id, title, 'system calls that pass the C library can be carried (run --syscalls dispatch)');
  const why = supported === undefined ? 'not known before the native programs are built' : NO_DISPATCH;
  return bad(id, title, 'warning', `${why}; calls that pass the C library use the kernel door`);
}

function cgroupFindings(): Finding[] {
  const found = detectHierarchies();
  return (['cpu', 'memory', 'cpuset', 'pids', 'io'] as const).map((name) => {
    const hierarchy = found[name];
    const id = `cgroup-${name}`;
    const title = `control groups: ${name}`;
    const needed = name === 'cpu' || name === 'memory';
    if (!hierarchy) {
      const lost = needed ? 'missing' : 'warning';
      return bad(
        id,
        title,
        lost,
        `no ${name} controller: ${needed ? 'pools cannot be started' : 'it will not be limited'}`,
        'mount -t cgroup2 cgroup2 /sys/fs/cgroup',
      );
    }
    try {
      accessSync(hierarchy.mount, constants.W_OK);
      return ok(id, title, `version ${hierarchy.version} at ${hierarchy.mount}`);
    } catch {
      return bad(
        id,
        title,
        needed ? 'missing' : 'warning',
        `version ${hierarchy.version} at ${hierarchy.mount}, but not writable`,
        'run as root; in a container: with a writable cgroup mount',
      );
    }
  });
}

function nofileFinding(): Finding {
  const [soft = 0, hard = 0] = (
    /^Max open files\s+(\S+)\s+(\S+)/m.exec(readOr('/proc/self/limits'))?.slice(1) ?? []
  ).map((word) => (word === 'unlimited' ? Number.POSITIVE_INFINITY : Number(word)));
  const detail = `${soft} open files (at most ${hard})`;
  if (hard >= NOFILE_MIN) return ok('nofile', 'open files', detail);
  return bad(
    'nofile',
    'open files',
    'warning',
    `${detail}; a service holds one per open file of all its clients`,
    'ulimit -n 65536',
  );
}

function runtimeFinding(): Finding {
  try {
    const directory = runtimeDirectory();
    let existing = directory;
    while (!existsSync(existing)) existing = path.dirname(existing);
    accessSync(existing, constants.W_OK);
    return ok('runtime-directory', 'runtime directory', directory);
  } catch (error) {
    return bad(
      'runtime-directory',
      'runtime directory',
      'missing',
      (error as Error).message,
      'run as root, or set DICICLO_RUNTIME_DIR',
    );
  }
}

function nativeFinding(): Finding {
  const build = nativeBuild();
  const missing = [build.service, build.poolInit, build.enter, build.library].filter((file) => !existsSync(file));
  if (missing.length === 0) return ok('native', 'native programs', build.directory);
  return bad(
    'native',
    'native programs',
    'missing',
    `not built: ${missing.map((file) => path.basename(file)).join(', ')} in ${build.directory}`,
    'node scripts/setup.mjs',
  );
}

function packageFindings(): Finding[] {
  const missing = PACKAGES.filter(([, file]) => !existsSync(file));
  if (missing.length === 0) return [ok('packages', 'Debian packages', PACKAGES.map(([name]) => name).join(', '))];
  return missing.map(([name, file, purpose]) =>
    // What only the demo needs, or what is needed to build only, does not stop a pool.
    bad(
      `package-${name}`,
      `package ${name}`,
      'warning',
      `${file} is not there (needed for: ${purpose})`,
      `apt-get install -y --no-install-recommends ${name}`,
    ),
  );
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** What stands between a program and the filesystem library, outermost program first. */
function examineProgram(program: string, depth = 0): Finding[] {
  const file = resolveProgram(program);
  if (!file)
    return [
      bad('program', program, 'missing', `there is no program ${program} in PATH`, 'give its path, or install it'),
    ];
  let facts: ProgramFacts;
  try {
    facts = readProgram(file);
  } catch (error) {
    return [bad('program', program, 'missing', `${file} cannot be read (${errnoOf(error) ?? 'error'})`, 'run as root')];
  }
  const findings = [ok('program', program, `${file}: ${describe(facts)}`)];
  if (facts.format !== 'script') return [...findings, doorOf(file, facts), dispatchOf(facts)];
  const next = interpreterOf(facts);
  if (!next || depth > 4)
    return [...findings, bad('door', 'door', 'warning', 'the script names no interpreter that can be followed')];
  return [...findings, ...examineProgram(next, depth + 1)];
}

/** `env` is looked through: what it starts decides. */
function interpreterOf(facts: ProgramFacts): string | undefined {
  if (path.basename(facts.interpreter ?? '') !== 'env') return facts.interpreter;
  return facts.argument?.split(/\s+/).find((word) => !word.startsWith('-') && !word.includes('='));
}

function resolveProgram(program: string): string | null {
  const candidates = program.includes('/')
    ? [path.resolve(program)]
    : (process.env.PATH ?? '').split(':').map((directory) => path.join(directory || '.', program));
  for (const file of candidates) {
    try {
      if (!statSync(file).isFile()) continue;
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next one.
    }
  }
  return null;
}

function describe(facts: ProgramFacts): string {
  if (facts.format === 'script') return `script for ${facts.interpreter}${facts.argument ? ` ${facts.argument}` : ''}`;
  if (facts.format === 'other') return 'neither ELF nor a script';
  const kind = facts.loader ? `dynamic, loader ${facts.loader}` : 'static';
  return `${facts.bits}-bit ${facts.machine}, ${kind}${facts.go ? ', Go' : ''}${facts.setuid ? ', setuid or setgid' : ''}`;
}

const HOST_MACHINES: Record<string, string> = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i386' };

function doorOf(file: string, facts: ProgramFacts): Finding {
  const kernel = (why: string) => bad('door', 'door', 'warning', `kernel door: ${why}`);
  if (facts.format === 'other') return kernel('the file is not an ELF program, the shell decides what runs it');
  if (facts.machine !== (HOST_MACHINES[process.arch] ?? process.arch))
    return kernel(`the library is built for ${process.arch}, the program is ${facts.machine}`);
  if (facts.setuid)
    return kernel(
      'the loader drops preloaded libraries from setuid and setgid programs run by others than their owner',
    );
  if (facts.go && facts.loader) return kernel('Go programs call the kernel themselves and pass by the C library');
  if (!facts.loader)
    return kernel(`${facts.go ? 'it is a Go program and' : 'it is'} linked statically, so no library can be preloaded`);
  if (facts.loader.includes('musl')) return kernel('it uses musl, the filesystem library is for glibc');
  if (!GLIBC_LOADER.test(path.basename(facts.loader)))
    return kernel(`its loader ${facts.loader} is not glibc's, which the filesystem library is for`);
  const linked = facts.needed.some((name) => name.startsWith('libdiciclo.so'));
  const kind = linked ? 'linked with the filesystem library' : 'dynamic glibc program';
  const only = !linked && hasCapabilities(file) ? ' (with file capabilities: only when run by root)' : '';
  const but = reservations(facts);
  if (but.length === 0) return ok('door', 'door', `library door: ${kind}${only}`);
  return bad('door', 'door', 'warning', `library door: ${kind}${only}; but ${but.join('; ')}`);
}

/** Whether `run --syscalls dispatch` would carry what passes the C library's functions. */
function dispatchOf(facts: ProgramFacts): Finding {
  const say = (detail: string, fix?: string): Finding => ({ ...ok('dispatch', 'system call dispatch', detail), fix });
  if (!preloadable(facts)) return say('no help: it needs the library in the program, which this one cannot have');
  if (dispatchSupported() === false) return say(`no help: ${NO_DISPATCH}`);
  const fix = 'diciclo run POOL --syscalls dispatch -- PROGRAM';
  if (facts.go) return say("would carry Go's own system calls, if cgo makes its threads", fix);
  if (facts.ownCalls.length > 0) return say(`would carry its own system calls (${facts.ownCalls.join(', ')}) too`, fix);
  return say(
    'not needed: no file calls of its own were found; it would carry what the C library does inside (nftw, glob)',
  );
}

function preloadable(facts: ProgramFacts): boolean {
  return (
    facts.format === 'elf' &&
    facts.machine === HOST_MACHINES[process.arch] &&
    !facts.setuid &&
    GLIBC_LOADER.test(path.basename(facts.loader ?? '')) &&
    !facts.loader?.includes('musl')
  );
}

/** ld-linux.so.2, ld-linux-x86-64.so.2, ld-linux-aarch64.so.1, ld64.so.2, ld.so.1 */
const GLIBC_LOADER = /^(ld-linux.*|ld64|ld)\.so\.\d+$/;

/** What a carried program does past the library. */
function reservations(facts: ProgramFacts): string[] {
  const uses = (library: string) => facts.needed.some((name) => name.startsWith(`${library}.so`));
  const but: string[] = [];
  if (facts.ownCalls.length > 0)
    but.push(
      `it makes system calls of its own (${facts.ownCalls.join(', ')}), which use the kernel door unless dispatched`,
    );
  if (uses('liburing')) but.push('what it submits through an io_uring ring uses the kernel door');
  if (uses('libaio')) but.push('what it submits through libaio uses the kernel door');
  if (uses('libasan') || uses('libtsan'))
    but.push("a sanitizer's run-time wants to be loaded first: set ASAN_OPTIONS=verify_asan_link_order=0");
  return but;
}

/** File capabilities make the loader drop preloads for users that gain them. */
function hasCapabilities(file: string): boolean {
  try {
    return (
      execFileSync('getcap', [file], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: 2000,
      }).trim() !== ''
    );
  } catch {
    return false;
  }
}
