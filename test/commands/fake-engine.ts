/** An engine that answers from a fixed world and remembers what it was asked. */

import type { CopyProfile } from '../../src/engine/tune.js';
import type {
  Accounting,
  Action,
  CallOptions,
  Engine,
  FilesystemSpec,
  MountSummary,
  PoolSpec,
  PoolSummary,
  ServerSummary,
  TenantSpec,
  UpgradeSummary,
} from '../../src/engine/types.js';
import { DicicloError } from '../../src/engine/types.js';

export const mount: MountSummary = {
  pool: 'acme/db',
  instance: 'data',
  mountpoint: '/data',
  device: '0:42',
  host: false,
  stack: 'cache/local',
};

export const server: ServerSummary = {
  pool: 'acme/db',
  name: 'redis',
  pid: 4242,
  state: 'running',
  restarts: 0,
  health: 'healthy',
  command: ['redis-server', '--port', '0'],
};

export const upgrade: UpgradeSummary = { pool: 'acme/db', pid: 4243, epoch: 2, drained: true, milliseconds: 14 };

export const pool: PoolSummary = {
  tenant: 'acme',
  pool: 'db',
  name: 'acme/db',
  phase: 'running',
  reserve: { cores: 2, memory: 1024 ** 3 },
  limit: { cores: 2, memory: 1024 ** 3 },
  weight: 100,
  trust: 'pool',
  init: { pid: 100 },
  service: { pid: 101, epoch: 1, restarts: 0, state: 'running' },
  cgroups: { cpu: '/sys/fs/cgroup/diciclo/acme/db', memory: '/sys/fs/cgroup/diciclo/acme/db' },
  mounts: [mount],
  servers: [server],
  directory: '/run/diciclo/pools/acme/db',
};

export const copyProfile: CopyProfile = {
  version: 1,
  cpu: 'AuthenticAMD 26.2.1 AMD EPYC',
  measured: '2026-11-26T16:00:00Z',
  cpus: [0, 1],
  seconds: 4.2,
  candidates: ['libc', 'avx2x4'],
  rows: [
    {
      direction: 'toShared',
      upTo: 262144,
      routine: 'avx2x4',
      bytesPerSecond: 12e9,
      libcBytesPerSecond: 10e9,
      ratio: 1.2,
    },
    { direction: 'toShared', upTo: null, routine: 'libc', bytesPerSecond: 9e9, libcBytesPerSecond: 9e9, ratio: 1 },
  ],
  path: '/var/lib/diciclo/copy.json',
  state: 'stored',
};

export const stats = {
  epoch: 1,
  uptimeSeconds: 1.5,
  cpuSeconds: 0.2,
  residentBytes: 1048576,
  queue: {
    transport: 'queue',
    depth: 0,
    dequeued: 2,
    waits: 3,
    spins: 2,
    caught: 1,
    sleeps: 2,
    wakes: 1,
    rung: 0,
    spurious: 0,
    capacity: 1024,
    head: 2,
    tail: 2,
    enqueued: 2,
    invalidated: 0,
    mended: 0,
    workers: [],
  },
  copy: {
    profile: 'used',
    path: '/var/lib/diciclo/copy.json',
    routines: [
      { direction: 'toShared', upTo: 262144, routine: 'avx2x4' },
      { direction: 'toShared', upTo: null, routine: 'libc' },
    ],
  },
  instances: [
    {
      instance: 'data',
      mountpoint: '/data',
      doors: {
        library: { operations: { read: { count: 2, errors: 0, bytes: 8192, nanoseconds: 600 } } },
        kernel: { operations: {} },
      },
      layers: [{ id: 'data.0', type: 'cache', statistics: { hits: 1 } }],
    },
  ],
  clients: {
    attached: 1,
    attachedTotal: 9,
    cutOff: 0,
    leasedAnswers: 0,
    leasedReads: 0,
    posted: { writes: 0, bytes: 0, runs: 0, errors: 0, takenBack: 0 },
    uncarried: { mmap: 1 },
    list: [{ id: 1, pid: 77, command: 'db_bench' }],
  },
};

export const queue = {
  ...stats.queue,
  workers: [
    { id: 0, cpu: 1, state: 'sleep', handled: 2, waits: 3, spins: 2, caught: 1, sleeps: 2, rung: 0, spurious: 0 },
  ],
};

export const stack = {
  instance: 'data',
  mountpoint: '/data',
  root: {
    id: 'data.0',
    type: 'cache',
    kind: 'file',
    options: { size: 67108864 },
    statistics: { hits: 1 },
    children: {
      below: [{ id: 'data.1', type: 'local', kind: 'file', options: { path: '/srv/x' }, statistics: {}, children: {} }],
    },
  },
};

export const accounting: Accounting = {
  pool: 'acme/db',
  since: '2026-01-01T00:00:00.000Z',
  cpu: { seconds: 1.5, user: 1, system: 0.5, throttledSeconds: 0 },
  memory: {
    bytes: 1048576,
    peakBytes: 2097152,
    limitBytes: 1073741824,
    anonBytes: 524288,
    fileBytes: 262144,
    shmemBytes: 262144,
  },
  io: { readBytes: 0, writeBytes: 4096, readOperations: 0, writeOperations: 1 },
  processes: { current: 3 },
  service: { cpuSeconds: 0.2, residentBytes: 1048576 },
};

const created: Action = { verb: 'create', object: 'pool', name: 'acme/db', reasons: ['not there'] };

export class FakeEngine implements Engine {
  readonly runtimeDirectory: string = '/nonexistent';
  /** Method names with their arguments. */
  readonly calls: [string, ...unknown[]][] = [];
  actions: Action[] = [created];
  pools: PoolSummary[] = [pool];
  runStatus = 0;
  log = '/nonexistent/server.log';
  /** When set, every method rejects with it. */
  failure: Error | undefined;
  /** When set, apply waits for it. */
  applying: ((options?: CallOptions) => Promise<void>) | undefined;

  private async answer<T>(call: [string, ...unknown[]], value: T): Promise<T> {
    this.calls.push(call);
    if (this.failure) throw this.failure;
    return value;
  }

  plan = (spec: TenantSpec) => this.answer(['plan', spec], this.actions);
  apply = async (spec: TenantSpec, options?: CallOptions) => {
    options?.events?.({ type: 'start', step: 'pool/acme/db', title: 'start pool acme/db' });
    await this.applying?.(options);
    options?.events?.({ type: 'done', step: 'pool/acme/db', title: 'start pool acme/db' });
    return this.answer(['apply', spec, options], this.actions);
  };
  deleteTenant = (tenant: string, options?: CallOptions) =>
    this.answer<Action[]>(
      ['deleteTenant', tenant, options],
      this.actions.map((action) => ({ ...action, verb: 'delete' })),
    );
  listTenants = () => this.answer(['listTenants'], [{ name: 'acme', pools: ['db'], appliedAt: accounting.since }]);
  resolvePool = async (name: string) => {
    if (name !== 'db' && name !== 'acme/db') {
      throw new DicicloError('POOL_NOT_FOUND', `there is no pool ${name}`, { exit: 3, hints: ['diciclo pool list'] });
    }
    return this.answer(['resolvePool', name], { tenant: 'acme', pool: 'db' });
  };
  createPool = (tenant: string, spec: PoolSpec, options?: CallOptions) =>
    this.answer(['createPool', tenant, spec, options], { ...pool, tenant, pool: spec.name });
  destroyPool = (name: string, options?: CallOptions) => this.answer(['destroyPool', name, options], undefined);
  listPools = () => this.answer(['listPools'], this.pools);
  showPool = async (name: string) => {
    await this.resolvePool(name);
    return pool;
  };
  mount = (name: string, filesystem: FilesystemSpec & { mount: string }, options?: CallOptions) =>
    this.answer(['mount', name, filesystem, options], { ...mount, mountpoint: filesystem.mount });
  unmount = (name: string, mountpoint: string, options?: CallOptions & { force?: boolean }) =>
    this.answer(['unmount', name, mountpoint, options], undefined);
  listMounts = () => this.answer(['listMounts'], [mount]);
  run = (name: string, command: string[], options: object) =>
    this.answer(['run', name, command, options], this.runStatus);
  enterCommand = (name: string, command: string[]) => this.answer(['enterCommand', name], command);
  stats = (name: string) => this.answer(['stats', name], structuredClone(stats) as Record<string, unknown>);
  resetStats = (name: string) => this.answer(['resetStats', name], undefined);
  queue = (name: string) => this.answer(['queue', name], structuredClone(queue) as Record<string, unknown>);
  stack = (name: string, mountpoint: string) =>
    this.answer(['stack', name, mountpoint], structuredClone(stack) as Record<string, unknown>);
  accounting = (name: string) => this.answer(['accounting', name], accounting);
  listServers = (name?: string) => this.answer(['listServers', name], [server]);
  upgradeService = (name: string, options?: CallOptions) => this.answer(['upgradeService', name, options], upgrade);
  restartServer = (name: string, which: string, options?: CallOptions) =>
    this.answer(['restartServer', name, which, options], server);
  serverLog = (name: string, which: string) => this.answer(['serverLog', name, which], this.log);
}
