/**
 * Control groups of version 1: every controller has a hierarchy (and a directory of the pool) of its own.
 */
import path from 'node:path';
import { DicicloError } from '../types.js';
import { diskNumbers } from './disks.js';
import {
  cpuBandwidth,
  formatCpuList,
  makeGroup,
  processesOf,
  readNumber,
  readTable,
  readValue,
  writeValue,
} from './files.js';
import type { Controller, GroupLimits, InnerLimits, ResourceBackend, Usage } from './types.js';

const SHARES_PER_CORE = 1024;
const NANOSECONDS = 1e9;
const USER_HZ = 100;
/** What v1 reports where there is no limit: the largest page-aligned signed 64-bit number; anything near it means none. */
const NO_LIMIT_BYTES = 2 ** 62;

export class CgroupV1 implements ResourceBackend {
  readonly version = 1;
  readonly controllers: readonly Controller[];

  constructor(private readonly mounts: Partial<Record<Controller, string>>) {
    this.controllers = Object.keys(mounts) as Controller[];
  }

  directories(group: string): Record<string, string> {
    return Object.fromEntries(
      Object.entries(this.mounts).map(([name, mount]) => [name === 'io' ? 'blkio' : name, path.join(mount, group)]),
    );
  }

  create(group: string): void {
    for (const controller of this.controllers) {
      const mount = this.mounts[controller] as string;
      let directory = mount;
      for (const part of group.split('/')) {
        const above = directory;
        directory = path.join(directory, part);
        makeGroup(directory);
        if (controller === 'cpuset') inheritCpuset(above, directory);
        if (controller === 'memory' && readValue(directory, 'memory.use_hierarchy') === '0')
          writeValue(directory, 'memory.use_hierarchy', 1);
      }
    }
  }

  limit(group: string, limits: GroupLimits): void {
    this.at('cpu', group, (directory) => {
      const { quota, period } = cpuBandwidth(limits.coresLimit, this.mounts.cpuset ? limits.cpus.length : undefined);
      writeValue(directory, 'cpu.cfs_period_us', period, true);
      writeValue(directory, 'cpu.cfs_quota_us', quota ?? -1, true);
      const shares = limits.coresReserve
        ? limits.coresReserve * SHARES_PER_CORE
        : (limits.weight / 1000) * SHARES_PER_CORE;
      writeValue(directory, 'cpu.shares', clampShares(shares));
    });
    this.at('cpuset', group, (directory) => {
      writeValue(directory, 'cpuset.cpus', formatCpuList(limits.cpus));
    });
    this.at('memory', group, (directory) => {
      limitMemory(directory, limits.memoryLimit);
      writeValue(directory, 'memory.soft_limit_in_bytes', limits.memoryReserve ?? -1, true);
    });
    this.at('pids', group, (directory) => writeValue(directory, 'pids.max', limits.pidsMax));
    this.at('io', group, (directory) => limitIo(directory, limits.io ?? {}));
  }

  limitInner(group: string, limits: InnerLimits): void {
    this.at('cpu', group, (directory) =>
      writeValue(directory, 'cpu.shares', clampShares((limits.cpuWeight / 100) * SHARES_PER_CORE)),
    );
  }

  usage(group: string, into: Usage): void {
    this.at('cpuacct', group, (directory) => {
      into.cpuSeconds = readNumber(directory, 'cpuacct.usage') / NANOSECONDS;
      const table = readTable(directory, 'cpuacct.stat');
      into.userSeconds = (table.user ?? 0) / USER_HZ;
      into.systemSeconds = (table.system ?? 0) / USER_HZ;
    });
    this.at('cpu', group, (directory) => {
      into.throttledSeconds = (readTable(directory, 'cpu.stat').throttled_time ?? 0) / NANOSECONDS;
    });
    this.at('memory', group, (directory) => {
      const table = readTable(directory, 'memory.stat');
      const limit = readNumber(directory, 'memory.limit_in_bytes');
      into.memoryBytes = readNumber(directory, 'memory.usage_in_bytes');
      into.memoryPeakBytes = readNumber(directory, 'memory.max_usage_in_bytes');
      into.memoryLimitBytes = limit >= NO_LIMIT_BYTES || limit === 0 ? null : limit;
      into.anonBytes = table.total_rss ?? table.rss ?? 0;
      into.shmemBytes = table.total_shmem ?? table.shmem ?? 0;
      into.fileBytes = table.total_cache ?? table.cache ?? 0;
    });
    this.at('io', group, (directory) => {
      Object.assign(into, readIo(directory));
    });
    this.at('pids', group, (directory) => {
      into.processes = readNumber(directory, 'pids.current');
    });
  }

  unreclaimable(group: string): number | null {
    let bytes: number | null = null;
    this.at('memory', group, (directory) => {
      const table = readTable(directory, 'memory.stat');
      const files = (table.total_active_file ?? 0) + (table.total_inactive_file ?? 0);
      bytes = Math.max(0, readNumber(directory, 'memory.usage_in_bytes') - files);
    });
    return bytes;
  }

  kill(group: string): void {
    // Nothing in the group can fork any more, so killing what is listed comes to an end.
    this.at('pids', group, (directory) => {
      if (processesOf(directory).length > 0) writeValue(directory, 'pids.max', 0, true);
    });
  }

  private at(controller: Controller, group: string, work: (directory: string) => void): void {
    const mount = this.mounts[controller];
    if (mount) work(path.join(mount, group));
  }
}

function clampShares(shares: number): number {
  return Math.min(262_144, Math.max(2, Math.round(shares)));
}

/** A new v1 cpuset is empty and takes no process: it gets what the one above has. */
function inheritCpuset(above: string, directory: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readValue(directory, file) !== '') continue;
    const value = readValue(above, file);
    if (!value)
      throw new DicicloError('CGROUP_FAILED', `${path.join(above, file)} is empty, so no process can run below it`);
    writeValue(directory, file, value);
  }
}

/** memsw (memory and swap) may never be below memory, so their order depends on the direction. */
function limitMemory(directory: string, bytes: number | undefined): void {
  const value = bytes ?? -1;
  const now = readNumber(directory, 'memory.limit_in_bytes');
  const files = ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'];
  if (value === -1 || value > now) files.reverse();
  for (const file of files) {
    try {
      writeValue(directory, file, value, file.includes('memsw'));
    } catch (error) {
      if (!(error instanceof DicicloError) || error.options.details?.errno !== 'EBUSY') throw error;
      throw new DicicloError(
        'LIMIT_BELOW_USE',
        `the memory limit of ${value} bytes is below what is in use in ${directory}`,
        {
          exit: 4,
          cause: error,
          hints: ['free memory in the pool first, or choose a higher limit'],
        },
      );
    }
  }
}

function limitIo(directory: string, io: NonNullable<GroupLimits['io']>): void {
  const files: [string, number | undefined][] = [
    ['blkio.throttle.read_bps_device', io.rbps],
    ['blkio.throttle.write_bps_device', io.wbps],
    ['blkio.throttle.read_iops_device', io.riops],
    ['blkio.throttle.write_iops_device', io.wiops],
  ];
  for (const [file, value] of files) {
    const now = readValue(directory, file);
    if (now === null || (value === undefined && now === '')) continue;
    for (const disk of diskNumbers()) writeValue(directory, file, `${disk} ${value ?? 0}`);
  }
}

function readIo(directory: string): Pick<Usage, 'readBytes' | 'writeBytes' | 'readOperations' | 'writeOperations'> {
  const sum = (file: string, operation: string) =>
    (readValue(directory, file) ?? '')
      .split('\n')
      .map((line) => line.split(' '))
      .filter((words) => words[1] === operation)
      .reduce((total, words) => total + Number(words[2]), 0);
  return {
    readBytes: sum('blkio.throttle.io_service_bytes', 'Read'),
    writeBytes: sum('blkio.throttle.io_service_bytes', 'Write'),
    readOperations: sum('blkio.throttle.io_serviced', 'Read'),
    writeOperations: sum('blkio.throttle.io_serviced', 'Write'),
  };
}
