/**
 * Processes by (pid, start time, boot): a pid alone may have been given to another process since.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from './errors.js';

export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks between boot and the start of the process. */
  startTime: number;
}

/** Fields of /proc/PID/stat from the third on (state, ppid, ...); null when there is no such process. */
function statFields(pid: number): string[] | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null;
  }
  // The command name is in parentheses and may hold spaces and parentheses itself.
  return text
    .slice(text.lastIndexOf(')') + 2)
    .trim()
    .split(' ');
}

/** Start time in clock ticks since boot; null when the process is gone or only waits to be reaped. */
export function startTimeOf(pid: number): number | null {
  const fields = statFields(pid);
  if (!fields || fields[0] === 'Z' || fields[0] === 'X') return null;
  return Number(fields[19]);
}

export function isAlive(identity: ProcessIdentity | null | undefined): boolean {
  if (!identity || !(identity.pid > 0)) return false;
  return startTimeOf(identity.pid) === identity.startTime;
}

export function self(): ProcessIdentity {
  return { pid: process.pid, startTime: startTimeOf(process.pid) ?? 0 };
}

/** Changes with every boot, so that a record of an earlier boot is recognised. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}

/** CPU seconds (user + system) of one process, and its resident bytes; null when it is gone. */
export function processUse(pid: number): { cpuSeconds: number; residentBytes: number } | null {
  const fields = statFields(pid);
  if (!fields) return null;
  const ticksPerSecond = 100; // USER_HZ, the same on every architecture that Linux tells user space about
  const pageBytes = 4096;
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
    residentBytes: Number(fields[21]) * pageBytes,
  };
}

/** Sends a signal; false when the process is gone already. Other errors (EPERM) throw. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Resolves true when the process has ended within `milliseconds`. */
export async function waitForEnd(identity: ProcessIdentity, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  for (let wait = 2; isAlive(identity); wait = Math.min(wait * 2, 50)) {
    if (Date.now() >= deadline) return false;
    await sleep(wait);
  }
  return true;
}

/**
 * Processes that run `program` with `--dir directory` among their arguments: pool-inits that a killed command started
 * and that have not written init.json (nor, perhaps, joined their control groups) yet.
 */
export function findByDirectory(program: string, directory: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    let argv: string[];
    try {
      // The name first: reading the arguments takes the process's memory lock, and hangs for as long as a process anywhere on the machine hangs in a page fault.
      const name = readFileSync(`/proc/${entry}/comm`, 'utf8').trim();
      if (name !== program.slice(0, 15) && name !== 'node') continue;
      argv = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
    } catch {
      continue;
    }
    const at = argv.indexOf('--dir');
    if (at < 0 || argv[at + 1] !== directory) continue;
    if (!argv.slice(0, at).some((word) => path.basename(word) === program) && !runs(pid, program)) continue;
    const startTime = startTimeOf(pid);
    if (startTime !== null) found.push({ pid, startTime });
  }
  return found;
}

function runs(pid: number, program: string): boolean {
  try {
    return path.basename(readlinkSync(`/proc/${pid}/exe`)) === program;
  } catch {
    return false;
  }
}
