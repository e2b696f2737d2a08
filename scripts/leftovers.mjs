/**
 * What a test (or a demo) may have left on the machine: processes, mounts, control groups, shared memory, runtime directories.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

const PROGRAM = /^(diciclo-(service|pool-init|enter)|qemu-system-x86_64)/;
/** Control groups and temporary directories that are ours: the engine's own and those of tests. */
const GROUP = /^(diciclo|dct-)/;
const TEMPORARY = /^(dct-|dc-|diciclo-)/;

/** In the environment of everything that one test run starts, so that it does not report what others run on the machine at the same time. */
export const MARK = 'DICICLO_TEST_RUN';

/** Each as one line of text. */
export function findLeftovers() {
  return [
    ...processes(),
    ...mounts(),
    ...groups(),
    ...listed('/dev/shm', /diciclo/),
    ...listed('/run/diciclo/pools', /./),
    ...listed('/tmp', TEMPORARY),
  ];
}

function processes() {
  const found = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const program = path.basename(readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, ''));
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const script = path.basename(argv[1] ?? '');
      if ((PROGRAM.test(program) || PROGRAM.test(script)) && isOurs(pid))
        found.push(`process ${pid} ${argv.slice(0, 4).join(' ')}`);
    } catch {
      // Gone, or a kernel thread.
    }
  }
  return found;
}

function isOurs(pid) {
  const mark = process.env[MARK];
  return mark === undefined || readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${MARK}=${mark}`);
}

function mounts() {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - fuse[. ]/.test(line) || line.includes('/dct-'))
    .map((line) => `mount ${line.split(' ')[4]}`);
}

function groups() {
  const root = '/sys/fs/cgroup';
  const tops = existsSync(root) ? [root, ...readdirSync(root).map((name) => path.join(root, name))] : [];
  return tops.flatMap((top) => listed(top, GROUP, 'control group'));
}

function listed(directory, pattern, what = 'file') {
  try {
    return readdirSync(directory)
      .filter((name) => pattern.test(name))
      .map((name) => `${what} ${path.join(directory, name)}`);
  } catch {
    return [];
  }
}
