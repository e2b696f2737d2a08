/**
 * A pool's life: its control groups, its first process, and the end of both. Every function may be repeated after an interruption;
 * the record is written before what it describes is done.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { assignCpus, type Claim, memoryLimit, sharedCpus } from './admission.js';
import { launch } from './child.js';
import { type Context, lockFiles, nameOf } from './context.js';
import { request } from './control.js';
import { errnoOf } from './errors.js';
import { faultPoint } from './fault.js';
import { hostUnmount, removeMadeDirectories } from './hostmounts.js';
import { makeStateDirectory, readText, writeJson } from './json.js';
import { acquireLock, readHolder, withLock } from './lock.js';
import { machineFacts } from './machine.js';
import { cgroupParent, nativeBuild, type PoolPaths, poolPaths, requireNativeBuild } from './paths.js';
import { bootId, findByDirectory, type ProcessIdentity, signalProcess, waitForEnd } from './process.js';
import { killMembers, procsFiles, removeGroups } from './resources/index.js';
import type { GroupLimits } from './resources/types.js';
import {
  identityOf,
  livingInit,
  POOL_SCHEMA,
  type PoolRecord,
  type PoolSettings,
  poolNames,
  readInit,
  readPool,
  removePoolDirectory,
  writePool,
} from './state.js';
import { DicicloError, ExitStatus, type UpgradeSummary } from './types.js';

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;
/** Threads and processes a pool may have: generous, and far below what exhausts the machine. */
const PIDS_MAX = 4096;
/** pool directory, tenant, parent */
const GROUP_LEVELS = 3;

/** The pool-init's answer to `status`, as far as the engine uses it. */
export interface InitStatus {
  init: { pid: number };
  service: { pid: number; epoch: number; restarts: number; state: string };
  mounts: { instance: string; mountpoint: string; device: string; restored?: boolean }[];
  servers: { name: string; pid: number | null; state: string; restarts: number; exit: number | null }[];
}

export function groupOf(record: { cgroupParent: string; tenant: string; pool: string }): string {
  return `${record.cgroupParent}/${record.tenant}/${record.pool}`;
}

/** Takes the pool's lock and runs `work`; a directory that the lock alone made is removed again. */
export async function withPoolLock<T>(
  context: Context,
  tenant: string,
  pool: string,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  const paths = poolPaths(context.runtime, tenant, pool);
  const subject = `pool ${tenant}/${pool}`;
  const timeout = context.remaining(`waiting for ${subject}`, 60_000);
  const lock = await acquireLock(paths.lock, { subject, what, timeout, signal: context.signal });
  try {
    return await work();
  } finally {
    // A pool that is no more takes its lock with it; one that somebody made there meanwhile is theirs.
    const held = readHolder(paths.lock)?.id === lock.holder.id;
    if (held && !existsSync(paths.record) && !existsSync(paths.init)) removePoolDirectory(context.runtime, paths);
    else lock.release();
  }
}

/** Admission and names: short, never held while a pool starts. */
export function withEngineLock<T>(context: Context, what: string, work: () => Promise<T>): Promise<T> {
  const timeout = context.remaining('waiting for the engine lock', 60_000);
  return withLock(
    lockFiles(context.runtime).engine,
    { subject: 'the engine', what, timeout, signal: context.signal },
    work,
  );
}

export function newRecord(
  context: Context,
  tenant: string,
  pool: string,
  settings: PoolSettings,
  origin: 'spec' | 'command',
): PoolRecord {
  const record: PoolRecord = {
    schema: POOL_SCHEMA,
    tenant,
    pool,
    origin,
    phase: 'creating',
    createdAt: new Date().toISOString(),
    boot: bootId(),
    settings,
    applied: null,
    cpus: null,
    cgroupParent: cgroupParent(),
    cgroups: {},
    mounts: [],
    servers: [],
  };
  record.cgroups = context.resources.directories(groupOf(record));
  return record;
}

export function claimOf(record: PoolRecord): Claim {
  return { name: nameOf(record), reserve: record.settings.reserve, limit: record.settings.limit, cpus: record.cpus };
}

/**
 * Gives every recorded pool its CPUs and writes what follows from the sum of all pools: shared cpusets and the inner groups' weights.
 * Under the engine lock. `record` is the pool whose settings changed; it is written with its new CPUs.
 */
export function rebalance(context: Context, records: PoolRecord[], record: PoolRecord | null): void {
  const machine = machineFacts();
  const assigned = assignCpus(records.map(claimOf), machine.cpus, record ? nameOf(record) : null);
  const shared = sharedCpus(assigned.values(), machine.cpus);
  if (record) {
    record.cpus = assigned.get(nameOf(record)) ?? null;
    writePool(context.runtime, record);
  }
  for (const other of records) {
    if (other === record || other.cpus !== null || !other.applied) continue;
    ignoreGone(() => context.resources.limit(groupOf(other), limitsOf(other, shared)));
  }
}

/** Weights and protections of the groups above the pools: the sums of what is below. After the groups exist. */
function limitInnerGroups(context: Context, records: PoolRecord[], record: PoolRecord): void {
  const sum = (some: PoolRecord[]) => ({
    cpuWeight: some.reduce(
      (total, each) =>
        total + (each.settings.reserve.cores ? each.settings.reserve.cores * 100 : each.settings.weight / 10),
      0,
    ),
    memoryReserve: some.reduce((total, each) => total + (each.settings.reserve.memory ?? 0), 0),
  });
  const alike = records.filter((each) => each.cgroupParent === record.cgroupParent);
  context.resources.limitInner(record.cgroupParent, sum(alike));
  context.resources.limitInner(
    `${record.cgroupParent}/${record.tenant}`,
    sum(alike.filter((each) => each.tenant === record.tenant)),
  );
}

export function limitsOf(record: PoolRecord, shared: number[]): GroupLimits {
  const { reserve, limit, weight } = record.settings;
  return {
    coresReserve: reserve.cores,
    coresLimit: limit.cores,
    weight,
    cpus: record.cpus ?? shared,
    memoryReserve: reserve.memory,
    memoryLimit: memoryLimit({ reserve, limit }),
    pidsMax: PIDS_MAX,
    io: limit.io,
  };
}

/** Refuses a memory limit that what runs could not survive. */
export function checkLimitAboveUse(context: Context, record: PoolRecord, settings: PoolSettings): void {
  const bytes = memoryLimit(settings);
  const used = bytes === undefined ? 0 : context.resources.unreclaimable(groupOf(record));
  if (bytes === undefined || used <= bytes) return;
  throw new DicicloError(
    'LIMIT_BELOW_USE',
    `the memory limit of pool ${nameOf(record)} would be ${bytes} bytes, but ${used} bytes are in use that cannot be given back`,
    {
      exit: ExitStatus.conflict,
      hints: ['end processes of the pool first, or choose a higher limit', `diciclo accounting show ${nameOf(record)}`],
    },
  );
}

/** Makes the pool's groups and gives them the recorded settings. Live: what runs goes on. Under the pool lock. */
export async function applyResources(context: Context, record: PoolRecord): Promise<void> {
  await withEngineLock(context, `set the resources of ${nameOf(record)}`, async () => {
    const records = allRecords(context, record);
    rebalance(context, records, record);
    faultPoint('resources-recorded');
    // Another pool's deletion may remove an inner group between its making and ours: the engine lock keeps both apart.
    context.resources.create(groupOf(record));
    faultPoint('cgroups-made');
    const { cpus } = machineFacts();
    const shared = sharedCpus(assignCpus(records.map(claimOf), cpus, null).values(), cpus);
    limitInnerGroups(context, records, record);
    context.resources.limit(groupOf(record), limitsOf(record, shared));
    faultPoint('cgroups-limited');
  });
}

/** All readable records, with `record` in place of its stored version. */
function allRecords(context: Context, record: PoolRecord): PoolRecord[] {
  const records: PoolRecord[] = [];
  for (const { tenant, pool } of poolNames(context.runtime)) {
    if (tenant === record.tenant && pool === record.pool) continue;
    const other = readPoolOrNull(context, tenant, pool);
    if (other) records.push(other);
  }
  return [...records, record];
}

function readPoolOrNull(context: Context, tenant: string, pool: string): PoolRecord | null {
  try {
    return readPool(context.runtime, tenant, pool);
  } catch {
    return null;
  }
}

/** Seconds that a service may leave pool-init's questions unanswered; 0: no watchdog; unset: pool-init's own 10 s. */
function watchdog(): string[] {
  const seconds = process.env.DICICLO_WATCHDOG_SECONDS;
  return seconds ? ['--watchdog', seconds] : [];
}

/** Starts pool-init unless it runs and answers; whatever an interrupted start left is ended first. Under the pool lock. */
export async function startInit(context: Context, record: PoolRecord): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  if (livingInit(paths, record) && (await initStatus(context, record).catch(() => null))) return;
  const build = requireNativeBuild();
  context.resources.require();
  await endProcesses(context, record, paths);
  record.boot = bootId();
  writePool(context.runtime, record);
  makeStateDirectory(paths.logs);
  faultPoint('init-starting');
  const argv = [
    build.poolInit,
    '--dir',
    paths.directory,
    '--name',
    nameOf(record),
    '--service',
    build.service,
    '--modules',
    build.modules,
    '--library',
    build.library,
    '--workers',
    String(record.settings.workers),
    '--trust',
    record.settings.trust,
    ...watchdog(),
    ...procsFiles(record.cgroups).flatMap((file) => ['--cgroup', file]),
  ];
  const timeout = context.remaining(`starting pool ${nameOf(record)}`, START_TIMEOUT_MS);
  const outcome = await launch(argv, path.join(paths.directory, 'start.err'), { timeout, signal: context.signal });
  faultPoint('init-started');
  if (outcome.status !== 0) throw startFailed(record, paths, outcome.stderr, outcome.timedOut, outcome.status);
}

function startFailed(
  record: PoolRecord,
  paths: PoolPaths,
  stderr: string,
  late: boolean,
  status: number,
): DicicloError {
  const why = late
    ? 'it was not ready in time'
    : stderr || lastLine(path.join(paths.logs, 'init.log')) || `diciclo-pool-init ended with status ${status}`;
  return new DicicloError('POOL_START_FAILED', `pool ${nameOf(record)} did not start: ${why}`, {
    exit: late ? ExitStatus.timeout : ExitStatus.failed,
    hints: ['diciclo doctor', `see ${paths.logs}/`],
  });
}

function lastLine(file: string): string {
  return (readText(file) ?? '').trim().split('\n').at(-1) ?? '';
}

export async function initStatus(context: Context, record: PoolRecord, timeout = 5_000): Promise<InitStatus> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  return request<InitStatus>(
    paths.control,
    'status',
    {},
    { peer: `pool ${nameOf(record)}`, timeout, signal: context.signal },
  );
}

/** Ends the pool's processes, the orderly way first. Its record, directory and groups stay. Under the pool lock. */
export async function stopInit(context: Context, record: PoolRecord): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const init = livingInit(paths, record);
  if (init) {
    const peer = `pool ${nameOf(record)}`;
    await request(paths.control, 'stop', {}, { peer, timeout: STOP_TIMEOUT_MS }).catch(() => null);
    faultPoint('init-stopping');
    await waitForEnd(identityOf(init), STOP_TIMEOUT_MS);
  }
  await endProcesses(context, record, paths);
}

/** Ends by force what is left: pool-init by its recorded identity, starts that never got to write it, and all that is in the pool's own groups. */
async function endProcesses(context: Context, record: PoolRecord, paths: PoolPaths): Promise<void> {
  const init = readInit(paths);
  const ends: ProcessIdentity[] = findByDirectory(path.basename(nativeBuild().poolInit), paths.directory);
  if (init && record.boot === bootId()) ends.push(identityOf(init));
  for (const end of ends) signalProcess(end, 'SIGKILL');
  for (const end of ends) await waitForEnd(end, 5_000);
  await killMembers(context.resources.backends, groupOf(record), record.cgroups);
  faultPoint('processes-ended');
}

/** Takes a pool away with all that was made for it. `record` says what; its phase is set to `deleting` first. Under the pool lock. */
export async function destroyRecord(context: Context, record: PoolRecord): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  if (record.phase !== 'deleting') {
    record.phase = 'deleting';
    writePool(context.runtime, record);
  }
  faultPoint('delete-recorded');
  for (const mount of [...record.mounts].reverse())
    if (mount.host) await hostUnmount(context, record, mount.mountpoint);
  faultPoint('host-unmounted');
  await stopInit(context, record);
  for (const mount of [...record.mounts].reverse()) removeMadeDirectories(mount.madeDirectories);
  faultPoint('directories-removed');
  await withEngineLock(context, `remove pool ${nameOf(record)}`, async () => {
    await removeGroups(record.cgroups, GROUP_LEVELS);
    faultPoint('cgroups-removed');
    removePoolDirectory(context.runtime, paths);
    rebalance(context, allRecords(context, record).slice(0, -1), null);
  });
  faultPoint('directory-removed');
}

/** A record good enough to destroy a pool whose own record is damaged: what convention says was made. */
export function conventionalRecord(context: Context, tenant: string, pool: string): PoolRecord {
  const settings: PoolSettings = { reserve: {}, limit: {}, weight: 100, trust: 'pool', workers: 0 };
  const record = newRecord(context, tenant, pool, settings, 'command');
  record.phase = 'deleting';
  const paths = poolPaths(context.runtime, tenant, pool);
  writeJson(paths.record, record);
  return record;
}

function ignoreGone(work: () => void): void {
  try {
    work();
  } catch (error) {
    const errno = error instanceof DicicloError ? error.options.details?.errno : errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTEMPTY' && errno !== 'ENODEV') throw error;
  }
}

/** Tried, drained and started by pool-init: 10 s, 20 s and 25 s at most. */
const UPGRADE_TIMEOUT_MS = 60_000;

/** Replaces the running service by the one that is installed now. Under the pool lock. */
export async function upgradeService(context: Context, record: PoolRecord): Promise<UpgradeSummary> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const { service, modules } = requireNativeBuild();
  const { pid, epoch, drained, milliseconds } = await request<UpgradeSummary>(
    paths.control,
    'service-upgrade',
    { service, modules },
    {
      peer: `pool ${nameOf(record)}`,
      timeout: context.remaining(`upgrading the service of pool ${nameOf(record)}`, UPGRADE_TIMEOUT_MS),
      signal: context.signal,
    },
  );
  return { pool: nameOf(record), pid, epoch, drained, milliseconds };
}
