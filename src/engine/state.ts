/**
 * What the engine remembers: one pool.json per pool, one file per applied tenant (docs/contract.md §2).
 * A record says what shall be (and what was made on the host for it) BEFORE it is done, so that whoever comes next can finish or take back the work.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from './errors.js';
import { corrupt, makeStateDirectory, readJson, readText, removeIfThere, writeJson } from './json.js';
import { acquireLock, holderIsAlive, readHolder, sweepLock } from './lock.js';
import { type PoolPaths, poolPaths, tenantFile } from './paths.js';
import { bootId, isAlive, type ProcessIdentity } from './process.js';
import type { InstancePlan, Resources, ServerSpec, TenantSpec } from './types.js';

export const POOL_SCHEMA = 1;
export const TENANT_SCHEMA = 1;

/** Made by `apply` from a spec, or by a single command: an apply only removes what an apply made. */
export type Origin = 'spec' | 'command';

export interface MountRecord {
  /** Name of the filesystem; also the instance's. */
  instance: string;
  mountpoint: string;
  origin: Origin;
  /** `creating` until the service has it, `deleting` from before it is taken away. */
  phase: 'creating' | 'mounted' | 'deleting';
  host: boolean;
  door: { cache: 'auto' | 'none' };
  plan: InstancePlan;
  /** Types from the top down: `cache/local`. */
  stack: string;
  /** Directories that did not exist on the host before, outermost first. */
  madeDirectories: string[];
}

export interface ServerRecord {
  spec: ServerSpec;
  origin: Origin;
  phase: 'creating' | 'started' | 'deleting';
}

export interface PoolSettings {
  reserve: Resources;
  limit: Resources;
  weight: number;
  trust: 'pool' | 'process';
  workers: number;
}

export interface PoolRecord {
  schema: typeof POOL_SCHEMA;
  tenant: string;
  pool: string;
  origin: Origin;
  phase: 'creating' | 'running' | 'deleting';
  createdAt: string;
  /** Boot in which the pool's processes were last started. */
  boot: string;
  /** What shall be; `applied` is what the control groups and pool-init were last given (null: nothing yet). */
  settings: PoolSettings;
  applied: PoolSettings | null;
  /** CPUs that the pool's cpuset shall hold; null: every CPU that no other pool has for itself. */
  cpus: number[] | null;
  /** Name of the group above all tenants'. */
  cgroupParent: string;
  /** The pool's own control group by controller; on v2 every key names the same directory. */
  cgroups: Record<string, string>;
  mounts: MountRecord[];
  servers: ServerRecord[];
}

export interface TenantRecord {
  schema: typeof TENANT_SCHEMA;
  name: string;
  appliedAt: string;
  /** False between the start of an apply and its end. */
  complete: boolean;
  spec: TenantSpec;
}

/** docs/contract.md §3, written by pool-init. */
export interface InitFile {
  pid: number;
  startTime: number;
  name: string;
  service: { pid: number; epoch: number; restarts: number };
}

export function readPool(runtime: string, tenant: string, pool: string): PoolRecord | null {
  const paths = poolPaths(runtime, tenant, pool);
  const record = readJson<PoolRecord>(paths.record, POOL_SCHEMA, [`diciclo pool destroy ${tenant}/${pool} --yes`]);
  if (!record) return null;
  const whole =
    record.tenant === tenant && record.pool === pool && Array.isArray(record.mounts) && Array.isArray(record.servers);
  if (!whole || typeof record.cgroups !== 'object' || typeof record.settings !== 'object') {
    throw corrupt(paths.record, 'lacks parts of a pool record', [`diciclo pool destroy ${tenant}/${pool} --yes`]);
  }
  return record;
}

export function writePool(runtime: string, record: PoolRecord): void {
  const paths = poolPaths(runtime, record.tenant, record.pool);
  makeStateDirectory(paths.directory);
  writeJson(paths.record, record);
}

/** Every pool that has a directory, recorded or not. */
export function poolNames(runtime: string): { tenant: string; pool: string }[] {
  const found: { tenant: string; pool: string }[] = [];
  const root = path.join(runtime, 'pools');
  for (const tenant of directories(root)) {
    for (const pool of directories(path.join(root, tenant))) found.push({ tenant, pool });
  }
  return found;
}

/** Records of all pools, sorted by name. A damaged record throws STATE_CORRUPT: nothing can be admitted beside an unknown reservation. */
export function readPools(runtime: string): PoolRecord[] {
  return poolNames(runtime)
    .map(({ tenant, pool }) => readPool(runtime, tenant, pool))
    .filter((record): record is PoolRecord => record !== null);
}

export function readTenant(runtime: string, tenant: string): TenantRecord | null {
  return readJson<TenantRecord>(tenantFile(runtime, tenant), TENANT_SCHEMA, [
    `diciclo apply -f SPEC`,
    `rm ${tenantFile(runtime, tenant)}`,
  ]);
}

export function writeTenant(runtime: string, record: TenantRecord): void {
  const file = tenantFile(runtime, record.name);
  makeStateDirectory(path.dirname(file));
  writeJson(file, record);
}

/** Under the tenant's lock: also removes what a writer that was killed left beside it. */
export function removeTenant(runtime: string, tenant: string): void {
  const file = tenantFile(runtime, tenant);
  for (const name of list(path.dirname(file))) {
    if (name.startsWith(`${path.basename(file)}.`) && name.endsWith('.tmp'))
      removeIfThere(path.join(path.dirname(file), name));
  }
  removeIfThere(file);
}

export function tenantNames(runtime: string): string[] {
  const names = new Set(directories(path.join(runtime, 'pools')));
  for (const name of list(path.join(runtime, 'tenants'))) {
    if (name.endsWith('.json')) names.add(name.slice(0, -'.json'.length));
  }
  return [...names].sort();
}

/** init.json, or null when there is none or it is damaged (it is replaced atomically, so damaged means not ours). */
export function readInit(paths: PoolPaths): InitFile | null {
  const text = readText(paths.init);
  if (text === null) return null;
  try {
    const value = JSON.parse(text) as InitFile;
    return Number.isInteger(value.pid) && Number.isFinite(value.startTime) ? value : null;
  } catch {
    return null;
  }
}

/** The pool's living first process, or null: never started, ended, or of an earlier boot. */
export function livingInit(paths: PoolPaths, record: PoolRecord | null): InitFile | null {
  const init = readInit(paths);
  if (!init || !isAlive(init)) return null;
  return record && record.boot !== bootId() ? null : init;
}

export function identityOf(init: InitFile): ProcessIdentity {
  return { pid: init.pid, startTime: init.startTime };
}

/** Removes what is left of a pool's directory, the record last, then the directories above it that are empty. */
export function removePoolDirectory(runtime: string, paths: PoolPaths): void {
  const lock = path.basename(paths.lock);
  for (const name of list(paths.directory)) {
    // Those who wait for the lock keep their file beside it.
    if (name === path.basename(paths.record) || name === lock || name.startsWith(`${lock}.`)) continue;
    rmSync(path.join(paths.directory, name), { recursive: true, force: true });
  }
  if (existsSync(paths.directory)) sweepLock(paths.lock);
  removeIfThere(paths.record);
  removeIfThere(paths.lock);
  removeEmptyAbove(paths.directory, runtime);
}

/** Removes `directory` and those above it while they are empty, up to and without `stop`. */
export function removeEmptyAbove(directory: string, stop: string): void {
  for (let at = directory; at.startsWith(`${stop}/`); at = path.dirname(at)) {
    try {
      rmdirSync(at);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return;
    }
  }
}

/** Removes locks of the dead, and the tenants' and pools' directories when nothing is in them any more; keeps the runtime directory itself. */
export async function tidyRuntime(runtime: string): Promise<void> {
  const tenants = path.join(runtime, 'tenants');
  const locks = [
    ...list(tenants)
      .filter((name) => name.endsWith('.lock'))
      .map((name) => path.join(tenants, name)),
    path.join(runtime, 'engine.lock'),
  ];
  for (const file of locks) {
    const holder = readHolder(file);
    if (holder && !holderIsAlive(holder))
      (await acquireLock(file, { subject: path.basename(file), what: 'remove a dead lock' })).release();
  }
  for (const name of ['pools', 'tenants']) removeEmptyAbove(path.join(runtime, name), runtime);
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return [];
    throw error;
  }
}

function directories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return [];
    throw error;
  }
}
