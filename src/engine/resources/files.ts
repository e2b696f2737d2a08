/**
 * Reading and writing control group files.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../errors.js';
import { DicicloError, ExitStatus } from '../types.js';

/** Writes one value; false when the file does not exist (the kernel lacks the feature) and `optional` is given. */
export function writeValue(directory: string, file: string, value: string | number, optional = false): boolean {
  const target = path.join(directory, file);
  if (optional && !existsSync(target)) return false;
  try {
    writeFileSync(target, String(value));
    return true;
  } catch (error) {
    throw cgroupError(error, `cannot write ${JSON.stringify(String(value))} to ${target}`);
  }
}

/** Trimmed content; null when the file is not there. */
export function readValue(directory: string, file: string): string | null {
  try {
    return readFileSync(path.join(directory, file), 'utf8').trim();
  } catch {
    return null;
  }
}

/** A number; 0 when the file is missing, Infinity for `max`. */
export function readNumber(directory: string, file: string): number {
  const text = readValue(directory, file);
  if (text === null) return 0;
  return text === 'max' ? Number.POSITIVE_INFINITY : Number(text);
}

const PERIOD_US = 40_000;
const QUOTA_MIN_US = 1000;
const PERIOD_MAX_US = 1_000_000;

/**
 * How long all of a group may run in each period, microseconds; `quota` is undefined without a limit. Who has used it up stands still until the period ends, the service's control thread too: hence a
 * period shorter than the kernel's usual 100 ms. The kernel takes no quota below 1 ms. A group whose cpuset (`confined`: CPUs in it) holds it to as much has no quota: the kernel hands it out in
 * slices to each CPU, so a group that is just busy is stopped now and then for what another CPU's slice has left.
 */
export function cpuBandwidth(
  cores: number | undefined,
  confined: number | undefined,
): { quota: number | undefined; period: number } {
  if (cores === undefined || (confined !== undefined && cores >= confined))
    return { quota: undefined, period: PERIOD_US };
  const period = Math.min(PERIOD_MAX_US, Math.max(PERIOD_US, Math.ceil(QUOTA_MIN_US / cores)));
  return { quota: Math.max(QUOTA_MIN_US, Math.round(cores * period)), period };
}

/** Files of `key value` lines (cpu.stat, memory.stat). */
export function readTable(directory: string, file: string): Record<string, number> {
  const table: Record<string, number> = {};
  for (const line of (readValue(directory, file) ?? '').split('\n')) {
    const [key, value] = line.split(' ');
    if (key && value !== undefined) table[key] = Number(value);
  }
  return table;
}

export function makeGroup(directory: string): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw cgroupError(error, `cannot make the control group ${directory}`);
  }
}

/** True when the group is gone afterwards; false while it still has processes or groups below. */
export function removeGroup(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return true;
    if (errno === 'EBUSY' || errno === 'ENOTEMPTY') return false;
    throw cgroupError(error, `cannot remove the control group ${directory}`);
  }
}

/** Ids of the processes in exactly this group. */
export function processesOf(directory: string): number[] {
  return (readValue(directory, 'cgroup.procs') ?? '').split('\n').filter(Boolean).map(Number);
}

/** `0-2,5` to numbers and back. */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = [];
  for (const part of text.split(',').filter(Boolean)) {
    const [first, last = first] = part.split('-').map(Number);
    for (let cpu = first as number; cpu <= (last as number); cpu++) cpus.push(cpu);
  }
  return cpus;
}

export function formatCpuList(cpus: readonly number[]): string {
  return [...cpus].sort((a, b) => a - b).join(',');
}

function cgroupError(error: unknown, what: string): DicicloError {
  const errno = errnoOf(error) ?? 'unknown error';
  const denied = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS';
  return new DicicloError(denied ? 'CGROUP_PERMISSION' : 'CGROUP_FAILED', `${what}: ${errno}`, {
    exit: denied ? ExitStatus.permission : ExitStatus.failed,
    hints: denied
      ? ['run as root, where control groups are writable (in a container: with its own writable cgroup)']
      : ['diciclo doctor'],
    cause: error,
    details: { errno },
  });
}
