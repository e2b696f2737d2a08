/**
 * Whole tenants: from a spec to running pools, and back to nothing. Locks in this order everywhere: tenant, pools by name, engine.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { checkHost, compilePool } from './compile.js';
import { type Context, lockFiles, step } from './context.js';
import { poolNotFound } from './errors.js';
import { faultPoint } from './fault.js';
import { canonical } from './json.js';
import { withLock } from './lock.js';
import { machineFacts } from './machine.js';
import { ensureMounted, ensureUnmounted, setAside } from './mounts.js';
import { checkName, poolPaths } from './paths.js';
import {
  type DesiredPool,
  needsRestart,
  type ObservedPool,
  outerFirst,
  planTenant,
  type Step,
  sameMount,
  settingsOf,
  toAction,
} from './plan.js';
import {
  applyResources,
  checkLimitAboveUse,
  conventionalRecord,
  destroyRecord,
  initStatus,
  newRecord,
  startInit,
  stopInit,
  withEngineLock,
  withPoolLock,
} from './pools.js';
import { ensureStarted, ensureStopped, stopServer } from './servers.js';
import {
  livingInit,
  type PoolRecord,
  poolNames,
  readPool,
  readPools,
  readTenant,
  removeTenant,
  TENANT_SCHEMA,
  tidyRuntime,
  writePool,
  writeTenant,
} from './state.js';
import { type Action, DicicloError, ExitStatus, type TenantSpec } from './types.js';

/** The steps between now and the spec; nothing is changed. */
export async function planSpec(context: Context, spec: TenantSpec): Promise<Step[]> {
  checkName('tenant', spec.metadata.name);
  const pools = await Promise.all(spec.spec.pools.map(compilePool));
  return planCompiled(context, spec, pools);
}

async function planCompiled(context: Context, spec: TenantSpec, pools: DesiredPool[]): Promise<Step[]> {
  for (const { spec: pool } of pools) poolPaths(context.runtime, spec.metadata.name, pool.name);
  const recorded = readTenant(context.runtime, spec.metadata.name);
  const observed = await Promise.all(
    readPools(context.runtime).map((record) => observe(context, record, record.tenant === spec.metadata.name)),
  );
  const applied = recorded?.complete ? recorded.spec : null;
  return planTenant({ spec, pools, observed, applied, machine: machineFacts() });
}

/** `closely`: also asks the pool's first process what it has. */
async function observe(context: Context, record: PoolRecord, closely: boolean): Promise<ObservedPool> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const living = livingInit(paths, record) !== null;
  const status = living && closely ? await initStatus(context, record).catch(() => null) : null;
  return {
    record,
    // One that lives and does not answer is as good as dead to those who want to work with it.
    alive: living && (!closely || status !== null),
    mountpoints: status?.mounts.map((mount) => mount.mountpoint) ?? null,
    servers: status?.servers.map((server) => server.name) ?? null,
  };
}

/** Carries the spec out. Returns what was done; rejects with exit 9 when some of it was and some could not be. */
export async function applySpec(context: Context, spec: TenantSpec, dryRun: boolean): Promise<Action[]> {
  const tenant = spec.metadata.name;
  checkName('tenant', tenant);
  const pools = await Promise.all(spec.spec.pools.map(compilePool));
  await checkHost(pools.flatMap((pool) => pool.mounts));
  const dry = await planCompiled(context, spec, pools);
  if (dryRun || dry.length === 0) return dry.map(toAction);
  const done: Action[] = [];
  await withTenantLock(context, tenant, `apply ${tenant}`, async () => {
    const steps = await planCompiled(context, spec, pools);
    if (steps.length === 0) return;
    const touched = [...new Set(steps.flatMap((each) => each.pool ?? []))].sort();
    await withPoolLocks(context, tenant, touched, `apply ${tenant}`, async () => {
      await recordIntents(context, spec, pools);
      try {
        await carryOut(context, spec, pools, steps, done);
      } catch (error) {
        throw partly(error, done);
      }
    });
  });
  return done;
}

/** Under the engine lock: plans once more (that is the admission) and writes what shall be, before anything is made. */
async function recordIntents(context: Context, spec: TenantSpec, pools: DesiredPool[]): Promise<void> {
  const tenant = spec.metadata.name;
  await withEngineLock(context, `admit ${tenant}`, async () => {
    await planCompiled(context, spec, pools);
    for (const { spec: wanted } of pools) {
      const record = readPool(context.runtime, tenant, wanted.name);
      if (!record || record.phase === 'deleting') continue;
      if (memoryShrinks(record, wanted)) checkLimitAboveUse(context, record, settingsOf(wanted));
    }
    writeTenant(context.runtime, {
      schema: TENANT_SCHEMA,
      name: tenant,
      appliedAt: new Date().toISOString(),
      complete: false,
      spec,
    });
    faultPoint('tenant-recorded');
    for (const { spec: wanted } of pools) {
      const record = readPool(context.runtime, tenant, wanted.name);
      if (record?.phase === 'deleting') continue; // made anew after its deletion is finished
      const next = record ?? newRecord(context, tenant, wanted.name, settingsOf(wanted), 'spec');
      next.settings = settingsOf(wanted);
      next.origin = 'spec';
      if (!record || canonical(readPool(context.runtime, tenant, wanted.name)) !== canonical(next))
        writePool(context.runtime, next);
      faultPoint('pool-recorded');
    }
  });
}

function memoryShrinks(
  record: PoolRecord,
  wanted: { limit: { memory?: number }; reserve: { memory?: number } },
): boolean {
  const before = record.applied?.limit.memory ?? record.applied?.reserve.memory ?? Number.POSITIVE_INFINITY;
  return (wanted.limit.memory ?? wanted.reserve.memory ?? Number.POSITIVE_INFINITY) < before;
}

async function carryOut(
  context: Context,
  spec: TenantSpec,
  pools: DesiredPool[],
  steps: Step[],
  done: Action[],
): Promise<void> {
  const tenant = spec.metadata.name;
  const fresh = new Set<string>();
  for (const each of steps) {
    const desired = pools.find((pool) => pool.spec.name === each.pool);
    if (each.object === 'tenant') continue;
    const title = `${each.verb} ${each.object} ${each.name}`;
    await step(context, `${each.object}/${each.name}`, title, async () => {
      if (each.object === 'pool' && each.verb === 'delete')
        await deletePool(context, tenant, each.pool as string, done);
      else if (each.object === 'pool') await bringPool(context, tenant, desired as DesiredPool, each, fresh);
      else await bringItem(context, tenant, desired as DesiredPool, each, steps, fresh);
    });
    done.push(toAction(each));
    faultPoint('step-done');
  }
  const last = steps.find((each) => each.object === 'tenant');
  if (spec.spec.pools.length === 0 && last === undefined) return;
  writeTenant(context.runtime, {
    schema: TENANT_SCHEMA,
    name: tenant,
    appliedAt: new Date().toISOString(),
    complete: true,
    spec,
  });
  faultPoint('tenant-complete');
  if (last) done.push(toAction(last));
}

async function deletePool(context: Context, tenant: string, pool: string, _done: Action[]): Promise<void> {
  const record = readPool(context.runtime, tenant, pool);
  if (record) await destroyRecord(context, record);
}

async function bringPool(
  context: Context,
  tenant: string,
  desired: DesiredPool,
  each: Step,
  fresh: Set<string>,
): Promise<void> {
  const settings = settingsOf(desired.spec);
  let record = readPool(context.runtime, tenant, desired.spec.name);
  if (!record) {
    record = newRecord(context, tenant, desired.spec.name, settings, 'spec');
    writePool(context.runtime, record);
    faultPoint('pool-recorded-again');
  }
  const restart = each.verb === 'restart' || (record.applied !== null && needsRestart(record.applied, settings));
  if (restart) {
    record.phase = 'creating';
    writePool(context.runtime, record);
    await stopForRestart(context, record);
  }
  await applyResources(context, record);
  if (each.verb !== 'update') await startInit(context, record);
  if (restart || each.verb === 'create') fresh.add(desired.spec.name);
  record.applied = settings;
  record.phase = 'running';
  writePool(context.runtime, record);
  faultPoint('pool-running');
}

/** Ends the pool's processes; what it mounted and served is to be made again. */
async function stopForRestart(context: Context, record: PoolRecord): Promise<void> {
  const { hostUnmount } = await import('./hostmounts.js');
  for (const mount of record.mounts) {
    if (mount.host) await hostUnmount(context, record, mount.mountpoint);
    if (mount.phase === 'mounted') mount.phase = 'creating';
  }
  for (const server of record.servers) {
    if (livingInit(poolPaths(context.runtime, record.tenant, record.pool), record))
      await stopServer(context, record, server.spec).catch(() => null);
    if (server.phase === 'started') server.phase = 'creating';
  }
  writePool(context.runtime, record);
  await stopInit(context, record);
}

async function bringItem(
  context: Context,
  tenant: string,
  desired: DesiredPool,
  each: Step,
  steps: Step[],
  fresh: Set<string>,
): Promise<void> {
  const record = readPool(context.runtime, tenant, desired.spec.name);
  if (!record) throw poolNotFound(`${tenant}/${desired.spec.name}`);
  if (each.object === 'filesystem') await bringFilesystem(context, record, desired, each, steps, fresh);
  else await bringServer(context, record, desired, each);
}

async function bringFilesystem(
  context: Context,
  record: PoolRecord,
  desired: DesiredPool,
  each: Step,
  steps: Step[],
  fresh: Set<string>,
): Promise<void> {
  const wanted = desired.mounts.find((mount) => mount.instance === each.item);
  // Servers that hold it open are stopped here and started again by their own step.
  const restarting = steps.filter(
    (other) => other.object === 'server' && other.verb === 'restart' && other.pool === each.pool,
  );
  if (each.verb !== 'create' && !fresh.has(record.pool)) {
    for (const server of record.servers) {
      if (server.phase !== 'started' || !restarting.some((other) => other.item === server.spec.name)) continue;
      server.phase = 'creating';
      writePool(context.runtime, record);
      await stopServer(context, record, server.spec);
    }
  }
  const mine = record.mounts.filter((mount) => mount.instance === each.item);
  await setAsideBelow(
    context,
    record,
    [...mine, ...(wanted ? [wanted] : [])].map((mount) => mount.mountpoint),
  );
  for (const entry of mine) {
    const keep = wanted ? entry.phase !== 'deleting' && sameMount(entry, wanted) : each.verb !== 'delete';
    if (!keep) await ensureUnmounted(context, record, entry, false);
  }
  const entry = record.mounts.find((mount) => mount.instance === each.item);
  if (entry) {
    if (wanted) entry.origin = 'spec';
    await ensureMounted(context, record, entry);
  } else if (wanted) {
    record.mounts = outerFirst([
      ...record.mounts,
      { ...wanted, origin: 'spec' as const, phase: 'creating' as const, madeDirectories: [] },
    ]);
    const made = record.mounts.find((mount) => mount.instance === each.item);
    if (made) await ensureMounted(context, record, made);
  }
}

/** Unmounts what is mounted below these places, innermost first; it stays recorded, and its own step mounts it again. */
async function setAsideBelow(context: Context, record: PoolRecord, mountpoints: string[]): Promise<void> {
  const below = record.mounts.filter(
    (mount) => mount.phase === 'mounted' && mountpoints.some((outer) => mount.mountpoint.startsWith(`${outer}/`)),
  );
  for (const mount of outerFirst(below).reverse()) await setAside(context, record, mount);
}

async function bringServer(context: Context, record: PoolRecord, desired: DesiredPool, each: Step): Promise<void> {
  const wanted = desired.spec.servers.find((server) => server.name === each.item);
  const old = record.servers.find((entry) => entry.spec.name === each.item);
  if (old && (!wanted || old.phase === 'deleting' || canonical(old.spec) !== canonical(wanted)))
    await ensureStopped(context, record, old);
  if (!wanted) return;
  let entry = record.servers.find((server) => server.spec.name === each.item);
  if (!entry) {
    entry = { spec: wanted, origin: 'spec', phase: 'creating' };
    record.servers.push(entry);
  }
  entry.origin = 'spec';
  await ensureStarted(context, record, entry);
}

function partly(error: unknown, done: Action[]): unknown {
  if (!(error instanceof DicicloError) || done.length === 0 || error.exit === ExitStatus.interrupted) return error;
  return new DicicloError(error.code, `${error.message} (${done.length} of the changes were made)`, {
    exit: ExitStatus.partial,
    cause: error.options.cause ?? error,
    hints: [...error.hints, 'mend the cause and apply again', 'or take it back: diciclo delete -f SPEC'],
    details: { ...error.options.details, done },
  });
}

/** Removes all that is recorded of a tenant. Finishes what an interrupted call began. */
export async function deleteTenantByName(context: Context, tenant: string, dryRun: boolean): Promise<Action[]> {
  const planned = (): string[] =>
    poolNames(context.runtime)
      .filter((each) => each.tenant === tenant)
      .map((each) => each.pool);
  const toDelete = (pool: string): Action => ({
    verb: 'delete',
    object: 'pool',
    name: `${tenant}/${pool}`,
    reasons: ['asked for'],
  });
  const own: Action = { verb: 'delete', object: 'tenant', name: tenant, reasons: ['asked for'] };
  checkName('tenant', tenant);
  const exists = tenantExists(context, tenant);
  if (!exists && planned().length === 0) {
    await tidyRuntime(context.runtime);
    return [];
  }
  if (dryRun) return [...planned().map(toDelete), own];
  const done: Action[] = [];
  await withTenantLock(context, tenant, `delete ${tenant}`, async () => {
    for (const pool of planned()) {
      const action = toDelete(pool);
      await step(context, `pool/${action.name}`, `delete pool ${action.name}`, () =>
        destroyPoolByName(context, tenant, pool),
      );
      done.push(action);
    }
    removeTenant(context.runtime, tenant);
    faultPoint('tenant-removed');
    done.push(own);
  });
  return done;
}

/** Destroys a pool whatever state it is in, a damaged or missing record included. */
export async function destroyPoolByName(context: Context, tenant: string, pool: string): Promise<void> {
  await withPoolLock(context, tenant, pool, `destroy pool ${tenant}/${pool}`, async () => {
    await destroyRecord(context, readPoolOrConvention(context, tenant, pool));
  });
}

function readPoolOrConvention(context: Context, tenant: string, pool: string): PoolRecord {
  try {
    const record = readPool(context.runtime, tenant, pool);
    if (record) return record;
  } catch (error) {
    if (!(error instanceof DicicloError) || error.code !== 'STATE_CORRUPT') throw error;
    context.emit({
      type: 'info',
      step: `pool/${tenant}/${pool}`,
      title: `the record of ${tenant}/${pool} is damaged, removing what it must have made`,
    });
  }
  return conventionalRecord(context, tenant, pool);
}

function tenantExists(context: Context, tenant: string): boolean {
  try {
    return readTenant(context.runtime, tenant) !== null;
  } catch {
    return true; // damaged: there is something to remove
  }
}

async function withTenantLock<T>(context: Context, tenant: string, what: string, work: () => Promise<T>): Promise<T> {
  const file = lockFiles(context.runtime).tenant(tenant);
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o711 });
  const timeout = context.remaining(`waiting for tenant ${tenant}`, 60_000);
  try {
    return await withLock(file, { subject: `tenant ${tenant}`, what, timeout, signal: context.signal }, work);
  } finally {
    await tidyRuntime(context.runtime);
  }
}

async function withPoolLocks(
  context: Context,
  tenant: string,
  pools: string[],
  what: string,
  work: () => Promise<void>,
): Promise<void> {
  const [first, ...rest] = pools;
  if (first === undefined) return work();
  await withPoolLock(context, tenant, first, what, () => withPoolLocks(context, tenant, rest, what, work));
}
