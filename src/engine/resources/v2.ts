/**
 * Control groups of version 2: one hierarchy, one directory of the pool for all controllers.
 */
import path from 'node:path';
import { DicicloError, ExitStatus } from '../types.js';
import { diskNumbers } from './disks.js';
import { cpuBandwidth, formatCpuList, makeGroup, readNumber, readTable, readValue, writeValue } from './files.js';
import type { Controller, GroupLimits, InnerLimits, ResourceBackend, Usage } from './types.js';

const WEIGHT_PER_CORE = 100;
const MICROSECONDS = 1e6;

export class CgroupV2 implements ResourceBackend {
  readonly version = 2;

  constructor(
    private readonly mount: string,
    readonly controllers: readonly Controller[],
  ) {}

  directories(group: string): Record<string, string> {
    const directory = path.join(this.mount, group);
    return Object.fromEntries(this.controllers.map((name) => [name, directory]));
  }

  create(group: string): void {
    let directory = this.mount;
    for (const part of group.split('/')) {
      this.enable(directory);
      directory = path.join(directory, part);
      makeGroup(directory);
    }
  }

  limit(group: string, limits: GroupLimits): void {
    const directory = path.join(this.mount, group);
    if (this.has('cpu')) {
      const { quota, period } = cpuBandwidth(limits.coresLimit, this.has('cpuset') ? limits.cpus.length : undefined);
      writeValue(directory, 'cpu.max', `${quota ?? 'max'} ${period}`, true);
      const weight = limits.coresReserve ? limits.coresReserve * WEIGHT_PER_CORE : limits.weight / 10;
      writeValue(directory, 'cpu.weight', clampWeight(weight), true);
    }
    if (this.has('cpuset')) writeValue(directory, 'cpuset.cpus', formatCpuList(limits.cpus), true);
    if (this.has('memory')) {
      writeValue(directory, 'memory.min', limits.memoryReserve ?? 0);
      writeValue(directory, 'memory.max', limits.memoryLimit ?? 'max');
      writeValue(directory, 'memory.swap.max', limits.memoryLimit === undefined ? 'max' : 0, true);
    }
    if (this.has('pids')) writeValue(directory, 'pids.max', limits.pidsMax);
    if (this.has('io')) limitIo(directory, limits.io ?? {});
  }

  limitInner(group: string, limits: InnerLimits): void {
    const directory = path.join(this.mount, group);
    if (this.has('cpu')) writeValue(directory, 'cpu.weight', clampWeight(limits.cpuWeight), true);
    // Protection is bounded by what the groups above are protected for.
    if (this.has('memory')) writeValue(directory, 'memory.min', limits.memoryReserve, true);
  }

  usage(group: string, into: Usage): void {
    const directory = path.join(this.mount, group);
    if (this.has('cpu')) {
      const table = readTable(directory, 'cpu.stat');
      into.cpuSeconds = (table.usage_usec ?? 0) / MICROSECONDS;
      into.userSeconds = (table.user_usec ?? 0) / MICROSECONDS;
      into.systemSeconds = (table.system_usec ?? 0) / MICROSECONDS;
      into.throttledSeconds = (table.throttled_usec ?? 0) / MICROSECONDS;
    }
    if (this.has('memory')) {
      const table = readTable(directory, 'memory.stat');
      const limit = readNumber(directory, 'memory.max');
      into.memoryBytes = readNumber(directory, 'memory.current');
      into.memoryPeakBytes = readNumber(directory, 'memory.peak') || into.memoryBytes;
      into.memoryLimitBytes = Number.isFinite(limit) ? limit : null;
      into.anonBytes = table.anon ?? 0;
      into.fileBytes = table.file ?? 0;
      into.shmemBytes = table.shmem ?? 0;
    }
    if (this.has('io')) addIo(directory, into);
    if (this.has('pids')) into.processes = readNumber(directory, 'pids.current');
  }

  unreclaimable(group: string): number | null {
    if (!this.has('memory')) return null;
    const directory = path.join(this.mount, group);
    const table = readTable(directory, 'memory.stat');
    return Math.max(0, readNumber(directory, 'memory.current') - (table.active_file ?? 0) - (table.inactive_file ?? 0));
  }

  kill(group: string): void {
    // Missing before Linux 5.14; the caller kills one by one then. A fork cannot outrun it once nothing new may start.
    const directory = path.join(this.mount, group);
    if (readValue(directory, 'cgroup.procs') === null) return;
    if (!writeValue(directory, 'cgroup.kill', 1, true)) writeValue(directory, 'pids.max', 0, true);
  }

  private has(controller: Controller): boolean {
    return this.controllers.includes(controller);
  }

  /** Hands our controllers down to the groups below `directory`. */
  private enable(directory: string): void {
    const enabled = new Set((readValue(directory, 'cgroup.subtree_control') ?? '').split(/\s+/));
    const missing = this.controllers.filter((name) => !enabled.has(name));
    if (missing.length === 0) return;
    try {
      writeValue(directory, 'cgroup.subtree_control', missing.map((name) => `+${name}`).join(' '));
    } catch (error) {
      if (!(error instanceof DicicloError) || error.options.details?.errno !== 'EBUSY') throw error;
      throw new DicicloError(
        'CGROUP_BUSY',
        `${directory} has processes of its own, so its controllers cannot be handed down (cgroup v2)`,
        {
          exit: ExitStatus.prerequisite,
          cause: error,
          hints: ['move these processes to a group below it (in a container: start it with an init that does so)'],
        },
      );
    }
  }
}

function clampWeight(weight: number): number {
  return Math.min(10_000, Math.max(1, Math.round(weight)));
}

function limitIo(directory: string, io: NonNullable<GroupLimits['io']>): void {
  const now = readValue(directory, 'io.max');
  const wanted = Object.values(io).some((value) => value !== undefined);
  if (now === null || (now === '' && !wanted)) return;
  const rates = (['rbps', 'wbps', 'riops', 'wiops'] as const).map((key) => `${key}=${io[key] ?? 'max'}`).join(' ');
  for (const disk of diskNumbers()) writeValue(directory, 'io.max', `${disk} ${rates}`);
}

function addIo(directory: string, into: Usage): void {
  for (const line of (readValue(directory, 'io.stat') ?? '').split('\n')) {
    const fields = Object.fromEntries(
      line
        .split(' ')
        .slice(1)
        .map((word) => word.split('=')),
    );
    into.readBytes += Number(fields.rbytes ?? 0);
    into.writeBytes += Number(fields.wbytes ?? 0);
    into.readOperations += Number(fields.rios ?? 0);
    into.writeOperations += Number(fields.wios ?? 0);
  }
}
