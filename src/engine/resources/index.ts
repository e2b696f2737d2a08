/**
 * Resources of pools: one object over the controllers of this machine, whatever their versions.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalProcess, startTimeOf } from '../process.js';
import { DicicloError, ExitStatus } from '../types.js';
import { detectHierarchies } from './detect.js';
import { processesOf, removeGroup } from './files.js';
import type { Controller, GroupLimits, Hierarchies, InnerLimits, ResourceBackend, Usage } from './types.js';
import { CgroupV1 } from './v1.js';
import { CgroupV2 } from './v2.js';

const NEEDED: Controller[] = ['cpu', 'memory'];
const REMOVE_TIMEOUT_MS = 10_000;

export class ResourceManager {
  readonly backends: readonly ResourceBackend[];

  constructor(readonly hierarchies: Hierarchies = detectHierarchies()) {
    this.backends = makeBackends(hierarchies);
  }

  /** Throws PREREQUISITE when cores or memory cannot be limited here at all. */
  require(): void {
    const missing = NEEDED.filter((name) => !this.hierarchies[name]);
    if (missing.length === 0) return;
    throw new DicicloError(
      'NO_CGROUP',
      `this machine offers no control group controller for ${missing.join(' and ')}`,
      {
        exit: ExitStatus.prerequisite,
        hints: ['mount -t cgroup2 cgroup2 /sys/fs/cgroup', 'diciclo doctor'],
      },
    );
  }

  /** Directory of the group by controller, under the kernel's names for them. */
  directories(group: string): Record<string, string> {
    return Object.assign({}, ...this.backends.map((backend) => backend.directories(group)));
  }

  create(group: string): void {
    for (const backend of this.backends) backend.create(group);
  }

  limit(group: string, limits: GroupLimits): void {
    for (const backend of this.backends) backend.limit(group, limits);
  }

  limitInner(group: string, limits: InnerLimits): void {
    for (const backend of this.backends) backend.limitInner(group, limits);
  }

  usage(group: string): Usage {
    const usage = emptyUsage();
    for (const backend of this.backends) backend.usage(group, usage);
    return usage;
  }

  unreclaimable(group: string): number {
    return Math.max(0, ...this.backends.map((backend) => backend.unreclaimable(group) ?? 0));
  }
}

function makeBackends(hierarchies: Hierarchies): ResourceBackend[] {
  const v1: Partial<Record<Controller, string>> = {};
  const v2: Controller[] = [];
  let unified = '';
  for (const [name, hierarchy] of Object.entries(hierarchies)) {
    if (hierarchy.version === 1) v1[name as Controller] = hierarchy.mount;
    else {
      v2.push(name as Controller);
      unified = hierarchy.mount;
    }
  }
  const backends: ResourceBackend[] = [];
  if (v2.length > 0) backends.push(new CgroupV2(unified, v2));
  if (Object.keys(v1).length > 0) backends.push(new CgroupV1(v1));
  return backends;
}

function emptyUsage(): Usage {
  return {
    cpuSeconds: 0,
    userSeconds: 0,
    systemSeconds: 0,
    throttledSeconds: 0,
    memoryBytes: 0,
    memoryPeakBytes: 0,
    memoryLimitBytes: null,
    anonBytes: 0,
    fileBytes: 0,
    shmemBytes: 0,
    readBytes: 0,
    writeBytes: 0,
    readOperations: 0,
    writeOperations: 0,
    processes: 0,
  };
}

/** The `cgroup.procs` files of a pool, each once, as the native programs take them. */
export function procsFiles(cgroups: Record<string, string>): string[] {
  return [...new Set(Object.values(cgroups))].map((directory) => path.join(directory, 'cgroup.procs'));
}

/** Ids of all processes in exactly these groups. */
export function membersOf(cgroups: Record<string, string>): number[] {
  const pids = new Set<number>();
  for (const directory of new Set(Object.values(cgroups))) for (const pid of processesOf(directory)) pids.add(pid);
  return [...pids];
}

/**
 * Kills what runs in exactly these groups until nothing does. Processes that do not die (in an uninterruptible wait) make it
 * reject with CGROUP_NOT_EMPTY after `milliseconds`.
 */
export async function killMembers(
  backends: readonly ResourceBackend[],
  group: string,
  cgroups: Record<string, string>,
  milliseconds = REMOVE_TIMEOUT_MS,
): Promise<number> {
  const killed = new Set<number>();
  const deadline = Date.now() + milliseconds;
  for (let wait = 2; ; wait = Math.min(wait * 2, 50)) {
    const members = membersOf(cgroups).filter((pid) => pid > 0 && pid !== process.pid);
    if (members.length === 0) return killed.size;
    for (const backend of backends) backend.kill(group);
    for (const pid of members) {
      const startTime = startTimeOf(pid);
      if (startTime !== null && signalProcess({ pid, startTime }, 'SIGKILL')) killed.add(pid);
    }
    if (Date.now() >= deadline) {
      throw new DicicloError(
        'CGROUP_NOT_EMPTY',
        `processes ${members.join(', ')} of ${group} do not end after SIGKILL`,
        {
          hints: [`cat /proc/${members[0]}/stack`, 'the same command again'],
        },
      );
    }
    await sleep(wait);
  }
}

/** Removes these directories (a pool's groups), then those above them while they are empty, up to the hierarchy's mount point. */
export async function removeGroups(cgroups: Record<string, string>, levels: number): Promise<void> {
  for (const directory of new Set(Object.values(cgroups))) {
    const deadline = Date.now() + REMOVE_TIMEOUT_MS;
    for (let wait = 2; !removeGroup(directory); wait = Math.min(wait * 2, 50)) {
      if (Date.now() >= deadline) {
        throw new DicicloError('CGROUP_NOT_EMPTY', `the control group ${directory} cannot be removed: it is in use`, {
          hints: [`cat ${directory}/cgroup.procs`, 'the same command again'],
        });
      }
      await sleep(wait);
    }
    let above = path.dirname(directory);
    for (let level = 1; level < levels && removeGroup(above); level++) above = path.dirname(above);
  }
}
