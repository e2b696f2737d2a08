/**
 * The words that the parts of the toolkit share: the normalized spec, the compiled plan, what the engine can do, and its one error class.
 * `src/spec` produces TenantSpec, `src/engine` carries it out, `src/commands` prints. No effects here.
 */

/** Exit statuses of the command line (CONVENTIONS): stable, documented in docs/user.md. */
export const ExitStatus = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  differences: 5,
  prerequisite: 6,
  permission: 7,
  timeout: 8,
  partial: 9,
  interrupted: 130,
} as const;
export type ExitStatus = (typeof ExitStatus)[keyof typeof ExitStatus];

/** The one error class. `message` is one sentence; `hints` say what to try next; `code` is stable and upper case (`POOL_NOT_FOUND`). */
export class DicicloError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly options: { exit?: number; hints?: string[]; cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'DicicloError';
  }
  get exit(): number {
    return this.options.exit ?? ExitStatus.failed;
  }
  get hints(): string[] {
    return this.options.hints ?? [];
  }
}

export type LibserviceKind = 'file' | 'block' | 'kv' | 'log';

/** One node of a stack as the spec gives it, after the short forms are resolved: type, checked options (base units), children by role. */
export interface StackNode {
  type: string;
  options: Record<string, unknown>;
  children: Record<string, StackNode[]>;
}

/** Cores may be fractions; memory, storage in bytes; io in bytes/s and operations/s. */
export interface Resources {
  cores?: number;
  memory?: number;
  storage?: number;
  io?: { rbps?: number; wbps?: number; riops?: number; wiops?: number; weight?: number };
}

export interface FilesystemSpec {
  name: string;
  /** Absolute path inside the pool; absent: a filesystem that others refer to. */
  mount?: string;
  /** Also show the kernel door on the host at the same path. */
  host: boolean;
  door: { cache: 'auto' | 'none' };
  stack: StackNode;
}

/** How a command enters a pool. */
export interface EnterOptions {
  door: 'library' | 'kernel';
  /** What the library catches; symbols when not given. */
  syscalls?: 'symbols' | 'dispatch';
  cwd?: string;
}

export interface HealthCheck {
  command: string[];
  /** milliseconds */
  interval: number;
  timeout: number;
  retries: number;
  startPeriod: number;
}

export interface ServerSpec {
  name: string;
  /** 'process' is the only kind of the first version: any program, run inside the pool. */
  kind: 'process';
  command: string[];
  environment: Record<string, string>;
  directory?: string;
  door: 'library' | 'kernel';
  /** The library catches system calls too, not the C library's functions alone. */
  syscalls?: 'dispatch';
  restart: 'always' | 'on-failure' | 'never';
  stopSignal: string;
  /** milliseconds between stopSignal and SIGKILL */
  stopGrace: number;
  health?: HealthCheck;
}

export interface PoolSpec {
  name: string;
  reserve: Resources;
  limit: Resources;
  weight: number;
  trust: 'pool' | 'process';
  /** Worker threads of the service; 0: chosen from the cores. */
  workers: number;
  filesystems: FilesystemSpec[];
  servers: ServerSpec[];
}

/** The full form of a tenant spec, every default filled in. */
export interface TenantSpec {
  apiVersion: 'diciclo/v1';
  kind: 'Tenant';
  metadata: { name: string; labels?: Record<string, string> };
  spec: { pools: PoolSpec[] };
}

/** docs/contract.md §5. */
export interface InstancePlanNode {
  id: string;
  type: string;
  kind: LibserviceKind;
  options: Record<string, unknown>;
  children: Record<string, string[]>;
}
export interface InstancePlan {
  version: 1;
  instance: string;
  root: string;
  nodes: InstancePlanNode[];
}

/** One step of a plan. `plan` prints them, `apply` does them in order; each is safe to repeat. */
export interface Action {
  verb: 'create' | 'update' | 'delete' | 'restart';
  object: 'tenant' | 'pool' | 'filesystem' | 'server';
  /** tenant, tenant/pool, tenant/pool/filesystem ... */
  name: string;
  /** What differs, for people: `limit.memory 4Gi -> 6Gi`. */
  reasons: string[];
}

/** What the engine says while it works; commands render it (listr2, plain lines or nothing). */
export interface EngineEvent {
  type: 'start' | 'done' | 'failed' | 'info';
  /** Stable id of the step, e.g. `pool/acme/db`. */
  step: string;
  /** Sentence fragment for people: `start pool acme/db`. */
  title: string;
  error?: DicicloError;
}
export type EventSink = (event: EngineEvent) => void;

export interface PoolSummary {
  tenant: string;
  pool: string;
  /** `tenant/pool` */
  name: string;
  phase: 'creating' | 'running' | 'deleting' | 'broken' | 'dead';
  reserve: Resources;
  limit: Resources;
  weight: number;
  trust: 'pool' | 'process';
  init: { pid: number } | null;
  service: { pid: number; epoch: number; restarts: number; state: string } | null;
  /** Absolute directory of the pool's control group, by controller ('cpu', 'cpuset', 'memory', 'pids', ...; on v2 every key names the same directory). */
  cgroups: Record<string, string>;
  mounts: MountSummary[];
  servers: ServerSummary[];
  directory: string;
}
export interface MountSummary {
  pool: string;
  instance: string;
  mountpoint: string;
  device: string;
  host: boolean;
  /** Types from the top down: `cache/local`. */
  stack: string;
}
export interface ServerSummary {
  pool: string;
  name: string;
  pid: number | null;
  state: 'running' | 'stopped' | 'backoff' | 'failed';
  restarts: number;
  health: 'healthy' | 'unhealthy' | 'unknown' | 'none';
  command: string[];
}

/** A service that was replaced by another. */
export interface UpgradeSummary {
  pool: string;
  pid: number;
  /** counts the services of the pool */
  epoch: number;
  /** the one before finished all that it had begun; false: it was killed after 20 s */
  drained: boolean;
  /** from the end of the one before taking requests to the new one being ready */
  milliseconds: number;
}

/** Use charged to one pool, from its control groups; adds up to what the kernel reports for them. */
export interface Accounting {
  pool: string;
  since: string;
  cpu: { seconds: number; user: number; system: number; throttledSeconds: number };
  memory: {
    bytes: number;
    peakBytes: number;
    limitBytes: number | null;
    anonBytes: number;
    fileBytes: number;
    shmemBytes: number;
  };
  io: { readBytes: number; writeBytes: number; readOperations: number; writeOperations: number };
  processes: { current: number };
  /** CPU seconds of the service process alone, part of cpu.seconds. */
  service: { cpuSeconds: number; residentBytes: number } | null;
}

export interface CallOptions {
  events?: EventSink;
  /** milliseconds for the whole call */
  timeout?: number;
  signal?: AbortSignal;
  dryRun?: boolean;
}

/**
 * The engine. Built by `createEngine()` of src/engine/index.ts; holds no state of its own between calls: everything is under the runtime directory.
 * Every method may be repeated or interrupted. All reject with DicicloError.
 */
export interface Engine {
  readonly runtimeDirectory: string;

  /** What apply would do. Pure but for reading state and the machine's size. Rejects when the machine cannot guarantee the reservations. */
  plan(spec: TenantSpec): Promise<Action[]>;
  /** Carries the plan out, finishing what an interrupted call began; returns what it did (empty: nothing to do). */
  apply(spec: TenantSpec, options?: CallOptions): Promise<Action[]>;
  /** Removes the tenant's pools (those in the spec and those recorded) and its record. */
  deleteTenant(tenant: string, options?: CallOptions): Promise<Action[]>;

  listTenants(): Promise<{ name: string; pools: string[]; appliedAt: string | null }[]>;
  /** `name` may be a bare pool name where it is unique. */
  resolvePool(name: string): Promise<{ tenant: string; pool: string }>;
  createPool(tenant: string, pool: PoolSpec, options?: CallOptions): Promise<PoolSummary>;
  destroyPool(name: string, options?: CallOptions): Promise<void>;
  listPools(): Promise<PoolSummary[]>;
  showPool(name: string): Promise<PoolSummary>;

  mount(pool: string, filesystem: FilesystemSpec & { mount: string }, options?: CallOptions): Promise<MountSummary>;
  unmount(pool: string, mountpoint: string, options?: CallOptions & { force?: boolean }): Promise<void>;
  listMounts(): Promise<MountSummary[]>;

  /** Runs a command with this process's own stdin, stdout, stderr and terminal; resolves with its exit status. */
  run(pool: string, command: string[], options: EnterOptions & { env?: Record<string, string> }): Promise<number>;
  /** The argv (diciclo-enter ...) that `run` starts, for callers that want to capture output. */
  enterCommand(pool: string, command: string[], options: EnterOptions): Promise<string[]>;

  /** docs/contract.md §6, as the service answers. */
  stats(pool: string): Promise<Record<string, unknown>>;
  resetStats(pool: string): Promise<void>;
  queue(pool: string): Promise<Record<string, unknown>>;
  stack(pool: string, mountpoint: string): Promise<Record<string, unknown>>;
  accounting(pool: string): Promise<Accounting>;

  /** Replaces the pool's service by the installed one while applications run. */
  upgradeService(pool: string, options?: CallOptions): Promise<UpgradeSummary>;

  listServers(pool?: string): Promise<ServerSummary[]>;
  restartServer(pool: string, server: string, options?: CallOptions): Promise<ServerSummary>;
  /** Absolute path of the server's log file. */
  serverLog(pool: string, server: string): Promise<string>;
}

/** One thing doctor looked at. */
export interface Finding {
  id: string;
  title: string;
  status: 'ok' | 'warning' | 'missing';
  detail: string;
  /** The command or setting that mends it. */
  fix?: string;
}
