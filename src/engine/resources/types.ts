/**
 * The one interface over both versions of control groups. A backend owns the controllers of its version; hybrid hosts have both.
 */

export type Controller = 'cpu' | 'cpuacct' | 'cpuset' | 'memory' | 'pids' | 'io';
export const CONTROLLERS: readonly Controller[] = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'io'];

/** Where one controller lives. */
export interface Hierarchy {
  version: 1 | 2;
  /** Mount point of its hierarchy, which is our root of it. */
  mount: string;
}
/** Controllers that this machine has, each with its own version. */
export type Hierarchies = Partial<Record<Controller, Hierarchy>>;

/** What one pool's group shall be given. Undefined: no limit, no reservation. Cores may be fractions, memory in bytes, rates per second. */
export interface GroupLimits {
  coresReserve?: number;
  coresLimit?: number;
  /** Share of spare cores among pools without a reservation (100: normal). */
  weight: number;
  cpus: number[];
  memoryReserve?: number;
  memoryLimit?: number;
  pidsMax: number;
  io?: { rbps?: number; wbps?: number; riops?: number; wiops?: number };
}

/** What is guaranteed below an inner group (the tenant's, or the parent of all): the sums of its pools. */
export interface InnerLimits {
  /** Sum of cpu weights in v2 units (100: one core). */
  cpuWeight: number;
  memoryReserve: number;
}

export interface Usage {
  cpuSeconds: number;
  userSeconds: number;
  systemSeconds: number;
  throttledSeconds: number;
  memoryBytes: number;
  memoryPeakBytes: number;
  memoryLimitBytes: number | null;
  anonBytes: number;
  fileBytes: number;
  shmemBytes: number;
  readBytes: number;
  writeBytes: number;
  readOperations: number;
  writeOperations: number;
  processes: number;
}

/**
 * `group` is a path below the mount point, as `diciclo/acme/db`; `controllers` are those of this backend's version.
 * Every call may be repeated; errors are DicicloErrors that name the file.
 */
export interface ResourceBackend {
  readonly version: 1 | 2;
  readonly controllers: readonly Controller[];
  /** The group's directory by controller. */
  directories(group: string): Record<string, string>;
  /** Makes the group and those above it, ready for processes. */
  create(group: string): void;
  /** Gives the group its limits; raising and lowering in the order that the kernel needs. */
  limit(group: string, limits: GroupLimits): void;
  limitInner(group: string, limits: InnerLimits): void;
  /** Adds what this backend's controllers know. */
  usage(group: string, into: Usage): void;
  /** Bytes that cannot be given back by dropping clean cache: a memory limit below it would kill. Null: no memory controller here. */
  unreclaimable(group: string): number | null;
  /** Kills at once what is in the group, where the kernel can. */
  kill(group: string): void;
}
