#!/usr/bin/env node
/**
 * Runs a command in a throw-away virtual machine with Debian's stock kernel and pure cgroup v2. The guest's root is this machine's root file system, read-only
 * through 9p with a writable layer in the guest's memory; only the output directory is shared. With KVM where it works, else by software emulation.
 * Usage: node scripts/guest.mjs [--out DIR] [--timeout SECONDS] [--memory MIB] -- COMMAND [ARG ...]
 * Exit status: the command's; 124 when the time was over; 6 when a package is missing. The guest sees the shared directory as /guest-out.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ask, done, Exit, Failure, fail, say, scratch } from './shared.mjs';

const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
const APPLETS = ['sh', 'mount', 'insmod', 'mkdir', 'switch_root'];
/** Time within which a guest under KVM must have come up. */
const ALIVE_MS = 30_000;
const PACKAGES = 'qemu-system-x86 linux-image-amd64 busybox-static kmod';

/** The newest full (not cloud) Debian kernel that has its modules here. */
function findKernel() {
  const names = existsSync('/lib/modules') ? readdirSync('/lib/modules') : [];
  const found = names
    .filter((name) => name.endsWith('-amd64') && !name.includes('cloud') && existsSync(`/boot/vmlinuz-${name}`))
    .sort((a, b) => a.localeCompare(b, undefined, { numeric: true }))
    .at(-1);
  if (found && existsSync('/bin/busybox') && ask(['qemu-system-x86_64', '--version']).status === 0) return found;
  throw new Failure(
    'the guest needs qemu, a Debian kernel, busybox and kmod',
    `apt-get install -y --no-install-recommends ${PACKAGES}`,
    Exit.prerequisite,
  );
}

/** Worth a try with KVM: a device node alone proves nothing, the processor must offer virtualization too. */
function kvmLikely() {
  return existsSync('/dev/kvm') && /\b(vmx|svm)\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
}

const quote = (word) => `'${word.replaceAll("'", "'\\''")}'`;

/** What runs first: finds the host's root and hands over to it. */
function makeInitramfs(work, kernel) {
  const root = path.join(work, 'root');
  for (const name of ['bin', 'mod', 'proc', 'lower', 'rw', 'root'])
    mkdirSync(path.join(root, name), { recursive: true });
  cpSync('/bin/busybox', path.join(root, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', path.join(root, 'bin', applet));
  const order = [];
  for (const module of MODULES) {
    const { output } = ask(['modprobe', '-S', kernel, '--show-depends', module], {
      env: { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` },
    });
    for (const line of output.split('\n')) {
      const file = /^insmod (\S+)/.exec(line)?.[1];
      if (!file || order.includes(path.basename(file))) continue;
      cpSync(file, path.join(root, 'mod', path.basename(file)));
      order.push(path.basename(file));
    }
  }
  writeFileSync(path.join(root, 'mod/order'), `${order.join('\n')}\n`);
  const script = `#!/bin/sh
mount -t proc proc /proc
while read m; do insmod /mod/$m; done < /mod/order
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /lower
mount -t tmpfs tmpfs /rw; mkdir /rw/up /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/up,workdir=/rw/work overlay /root
mkdir -p /root/guest-out
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 out /root/guest-out
exec switch_root /root /guest-out/.start
`;
  writeFileSync(path.join(root, 'init'), script, { mode: 0o755 });
  const image = path.join(work, 'initramfs');
  const packed = ask(['sh', '-c', `cd ${quote(root)} && find . | busybox cpio -o -H newc > ${quote(image)}`]);
  if (packed.status !== 0)
    throw new Failure(
      `the guest's first file system could not be packed: ${packed.output.trim()}`,
      `apt-get install ${PACKAGES}`,
    );
  return image;
}

/** What the host's root runs as process 1 in the guest. */
function writeStart(out, command, environment) {
  const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`);
  const script = `#!/bin/bash
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs tmpfs /run
# The checkout may itself lie below /tmp.
mkdir /guest-checkout; mount --bind ${quote(process.cwd())} /guest-checkout
mount -t tmpfs tmpfs /tmp
mkdir -p ${quote(process.cwd())}; mount --bind /guest-checkout ${quote(process.cwd())}
touch /guest-out/.alive
mount -t cgroup2 cgroup2 /sys/fs/cgroup
modprobe fuse; ip link set lo up 2>/dev/null
export HOME=/root PATH=${quote(process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin')} DICICLO_GUEST=1
${exports.join('\n')}
cd ${quote(process.cwd())} && ${command.map(quote).join(' ')} > /guest-out/output 2>&1 < /dev/null
echo $? > /guest-out/.status; sync
echo o > /proc/sysrq-trigger; sleep 10
`;
  writeFileSync(path.join(out, '.start'), script);
  chmodSync(path.join(out, '.start'), 0o755);
}

/**
 * Resolves with the command's exit status; its output is in `out`/output. Options: out (default: a temporary directory), timeoutSeconds, memoryMib, environment.
 */
export async function runInGuest(command, { out, timeoutSeconds = 900, memoryMib = 3072, environment = {} } = {}) {
  const kernel = findKernel();
  const work = scratch('diciclo-guest-');
  const shared = out ? path.resolve(out) : path.join(work, 'out');
  mkdirSync(shared, { recursive: true });
  rmSync(path.join(shared, '.status'), { force: true });
  try {
    const image = makeInitramfs(work, kernel);
    writeStart(shared, command, environment);
    const share = (id, tag, more) => [
      '-virtfs',
      `local,path=${id},mount_tag=${tag},security_model=passthrough,multidevs=remap${more}`,
    ];
    const common = [
      ...[
        '-m',
        String(memoryMib),
        '-smp',
        '2',
        '-display',
        'none',
        '-serial',
        `file:${path.join(shared, 'console')}`,
        '-no-reboot',
        '-nodefaults',
      ],
      ...['-kernel', `/boot/vmlinuz-${kernel}`, '-initrd', image, '-append', 'console=ttyS0 panic=1 quiet'],
      ...[...share('/', 'host', ',readonly=on'), ...share(shared, 'out', '')],
    ];
    await boot(kernel, common, shared, timeoutSeconds);
    const status = path.join(shared, '.status');
    const output = path.join(shared, 'output');
    if (!out && existsSync(output)) process.stdout.write(readFileSync(output));
    return existsSync(status) ? Number(readFileSync(status, 'utf8')) : 124;
  } finally {
    for (const name of ['.start', '.status', '.alive']) rmSync(path.join(shared, name), { force: true });
    done(work);
  }
}

/** With KVM where it gets as far as the guest's own start within half a minute, else by emulation. */
async function boot(kernel, common, shared, timeoutSeconds) {
  const alive = () => existsSync(path.join(shared, '.alive'));
  if (kvmLikely()) {
    say(`guest: Linux ${kernel}, pure cgroup v2, KVM`);
    await machine(['-accel', 'kvm', '-cpu', 'host', ...common], timeoutSeconds, alive);
    if (alive()) return;
    say('guest: KVM does not work here');
  }
  say(`guest: Linux ${kernel}, pure cgroup v2, software emulation (slow)`);
  await machine(['-accel', 'tcg,thread=multi', '-cpu', 'max', ...common], timeoutSeconds, null);
}

/** `alive`: ends the machine when it does not say yes soon enough. */
function machine(argv, timeoutSeconds, alive) {
  return new Promise((resolve) => {
    const qemu = spawn('qemu-system-x86_64', argv, { stdio: ['ignore', 'ignore', 2] });
    const end = () => qemu.kill('SIGKILL');
    const early = setTimeout(() => alive && !alive() && end(), ALIVE_MS);
    const timer = setTimeout(() => {
      say(`guest: stopped after ${timeoutSeconds} s`);
      end();
    }, timeoutSeconds * 1000);
    for (const signal of ['SIGINT', 'SIGTERM', 'exit']) process.once(signal, end);
    qemu.on('error', resolve);
    qemu.on('exit', () => {
      clearTimeout(timer);
      clearTimeout(early);
      for (const signal of ['SIGINT', 'SIGTERM', 'exit']) process.off(signal, end);
      resolve();
    });
  });
}

async function main(argv) {
  const at = argv.indexOf('--');
  const usage = 'node scripts/guest.mjs [--out DIR] [--timeout SECONDS] [--memory MIB] -- COMMAND [ARG ...]';
  if (at < 0 || at === argv.length - 1 || at % 2 !== 0)
    throw new Failure('no command for the guest', usage, Exit.usage);
  const options = {};
  const names = { '--out': 'out', '--timeout': 'timeoutSeconds', '--memory': 'memoryMib' };
  for (let word = 0; word < at; word += 2) {
    const name = names[argv[word]];
    if (!name) throw new Failure(`unknown option ${argv[word]}`, usage, Exit.usage);
    options[name] = name === 'out' ? argv[word + 1] : Number(argv[word + 1]);
  }
  process.exitCode = await runInGuest(argv.slice(at + 1), options);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main(process.argv.slice(2)).catch(fail);
