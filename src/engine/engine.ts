/**
 * The engine behind the interface of types.ts: each method resolves names, takes the locks and calls the part that does the work.
 * It holds nothing between calls.
 */
import { existsSync, statSync } from 'node:fs';
import { accountPool } from './accounting.js';
import { admit } from './admission.js';
import { checkHost, compileMount, compilePool } from './compile.js';
import { type Context, makeContext, nameOf, step } from './context.js';
import { request } from './control.js';
import { poolExists, poolNotFound, poolNotRunning } from './errors.js';
import { faultPoint } from './fault.js';
import { machineFacts } from './machine.js';
import { checkMountpoint, ensureMounted, ensureUnmounted, recordMount, summarizeMount } from './mounts.js';
import { checkName, poolPaths, requireNativeBuild, runtimeDirectory, serverLogFile } from './paths.js';
import { type DesiredPool, outerFirst, planTenant, settingsOf, toAction } from './plan.js';
import {
  applyResources,
  claimOf,
  destroyRecord,
  type InitStatus,
  initStatus,
  newRecord,
  startInit,
  upgradeService,
  withEngineLock,
  withPoolLock,
} from './pools.js';
import { enterArgv, runAttached } from './run.js';
import { ensureStarted, findServer, restartServer, summarizeServers } from './servers.js';
import {
  livingInit,
  type PoolRecord,
  poolNames,
  readPool,
  readPools,
  readTenant,
  tenantNames,
  tidyRuntime,
  writePool,
} from './state.js';
import { applySpec, deleteTenantByName, destroyPoolByName, planSpec } from './tenants.js';
import {
  type Accounting,
  type Action,
  type CallOptions,
  DicicloError,
  type Engine,
  type EnterOptions,
  ExitStatus,
  type FilesystemSpec,
  type MountSummary,
  type PoolSpec,
  type PoolSummary,
  type ServerSummary,
  type TenantSpec,
  type UpgradeSummary,
} from './types.js';

export class DicicloEngine implements Engine {
  readonly runtimeDirectory: string;

  constructor() {
    this.runtimeDirectory = runtimeDirectory();
  }

  async plan(spec: TenantSpec): Promise<Action[]> {
    return (await planSpec(this.context(), spec)).map(toAction);
  }

  apply(spec: TenantSpec, options: CallOptions = {}): Promise<Action[]> {
    return applySpec(this.context(options), spec, options.dryRun === true);
  }

  deleteTenant(tenant: string, options: CallOptions = {}): Promise<Action[]> {
    return deleteTenantByName(this.context(options), tenant, options.dryRun === true);
  }

  async listTenants(): Promise<{ name: string; pools: string[]; appliedAt: string | null }[]> {
    const pools = poolNames(this.runtimeDirectory);
    return tenantNames(this.runtimeDirectory).map((name) => ({
      name,
      pools: pools.filter((each) => each.tenant === name).map((each) => each.pool),
      appliedAt: readTenant(this.runtimeDirectory, name)?.appliedAt ?? null,
    }));
  }

  async resolvePool(name: string): Promise<{ tenant: string; pool: string }> {
    const [first, second, ...rest] = name.split('/');
    if (rest.length > 0 || !first) throw poolNotFound(name);
    const known = poolNames(this.runtimeDirectory);
    if (second !== undefined) {
      checkName('tenant', first);
      checkName('pool', second);
      if (!known.some((each) => each.tenant === first && each.pool === second)) throw poolNotFound(name);
      return { tenant: first, pool: second };
    }
    const found = known.filter((each) => each.pool === first);
    if (found.length === 1) return found[0] as { tenant: string; pool: string };
    if (found.length === 0) throw poolNotFound(name);
    throw new DicicloError('POOL_AMBIGUOUS', `${found.length} tenants have a pool ${name}`, {
      exit: ExitStatus.usage,
      hints: found.map((each) => `${each.tenant}/${each.pool}`),
    });
  }

  async createPool(tenant: string, pool: PoolSpec, options: CallOptions = {}): Promise<PoolSummary> {
    const context = this.context(options);
    checkName('tenant', tenant);
    checkName('pool', pool.name);
    const name = `${tenant}/${pool.name}`;
    requireNativeBuild();
    context.resources.require();
    const desired = await compilePool(pool);
    await checkHost(desired.mounts);
    const record = await withPoolLock(context, tenant, pool.name, `create pool ${name}`, async () => {
      await this.recordNew(context, tenant, desired, options.dryRun === true);
      if (options.dryRun) return newRecord(context, tenant, pool.name, settingsOf(pool), 'command');
      const made = readPool(this.runtimeDirectory, tenant, pool.name) as PoolRecord;
      try {
        await this.bringUp(context, made, desired);
      } catch (error) {
        // Nothing half-made: what a single command could not finish it takes back (an interrupted one is finished by destroy).
        await destroyRecord(makeContext(this.runtimeDirectory), made).catch(() => undefined);
        throw error;
      }
      return made;
    });
    return this.summarize(context, record);
  }

  /** Name and admission, under the engine lock. */
  private async recordNew(context: Context, tenant: string, desired: DesiredPool, dryRun: boolean): Promise<void> {
    const { name } = desired.spec;
    await withEngineLock(context, `admit pool ${tenant}/${name}`, async () => {
      const existing = readPool(this.runtimeDirectory, tenant, name);
      if (existing && existing.phase === 'running') throw poolExists(`${tenant}/${name}`, existing.phase);
      if (existing) await this.refuseInterrupted(existing);
      const records = readPools(this.runtimeDirectory).filter((record) => record !== existing);
      const record = newRecord(context, tenant, name, settingsOf(desired.spec), 'command');
      admit([...records.map(claimOf), claimOf(record)], machineFacts());
      // Mount points that collide are found by the same check that apply uses.
      const spec: TenantSpec = {
        apiVersion: 'diciclo/v1',
        kind: 'Tenant',
        metadata: { name: tenant },
        spec: { pools: [desired.spec] },
      };
      planTenant({ spec, pools: [desired], observed: [], applied: null, machine: machineFacts() });
      if (!dryRun) writePool(this.runtimeDirectory, record);
      faultPoint('pool-recorded');
    });
  }

  private async refuseInterrupted(existing: PoolRecord): Promise<never> {
    throw new DicicloError(
      'POOL_EXISTS',
      `pool ${nameOf(existing)} exists already: its ${existing.phase === 'deleting' ? 'deletion' : 'creation'} was interrupted`,
      {
        exit: ExitStatus.conflict,
        hints: [`diciclo pool destroy ${nameOf(existing)} --yes`, 'then create it again'],
      },
    );
  }

  private async bringUp(context: Context, record: PoolRecord, desired: DesiredPool): Promise<void> {
    const name = nameOf(record);
    await step(context, `pool/${name}`, `start pool ${name}`, async () => {
      await applyResources(context, record);
      await startInit(context, record);
    });
    record.applied = record.settings;
    record.phase = 'running';
    writePool(this.runtimeDirectory, record);
    faultPoint('pool-running');
    for (const mount of outerFirst(desired.mounts)) {
      const entry = recordMount(record, mount, 'command');
      await step(context, `filesystem/${name}/${mount.instance}`, `mount ${mount.mountpoint}`, () =>
        ensureMounted(context, record, entry),
      );
    }
    for (const spec of desired.spec.servers) {
      const entry = { spec, origin: 'command' as const, phase: 'creating' as const };
      record.servers.push(entry);
      await step(context, `server/${name}/${spec.name}`, `start server ${spec.name}`, () =>
        ensureStarted(context, record, entry),
      );
    }
  }

  async destroyPool(name: string, options: CallOptions = {}): Promise<void> {
    const context = this.context(options);
    const { tenant, pool } = await this.resolvePool(name).catch(async (error: unknown) => {
      await tidyRuntime(this.runtimeDirectory); // an interrupted destroy may have got as far as that
      throw error;
    });
    if (options.dryRun) return;
    await step(context, `pool/${tenant}/${pool}`, `destroy pool ${tenant}/${pool}`, () =>
      destroyPoolByName(context, tenant, pool),
    );
    await tidyRuntime(this.runtimeDirectory);
  }

  async listPools(): Promise<PoolSummary[]> {
    const context = this.context();
    return Promise.all(
      poolNames(this.runtimeDirectory).map(({ tenant, pool }) => this.summarizeByName(context, tenant, pool)),
    );
  }

  async showPool(name: string): Promise<PoolSummary> {
    const { tenant, pool } = await this.resolvePool(name);
    return this.summarizeByName(this.context(), tenant, pool);
  }

  private async summarizeByName(context: Context, tenant: string, pool: string): Promise<PoolSummary> {
    let record: PoolRecord | null;
    try {
      record = readPool(this.runtimeDirectory, tenant, pool);
    } catch (error) {
      if (!(error instanceof DicicloError) || error.code !== 'STATE_CORRUPT') throw error;
      record = null;
    }
    if (record) return this.summarize(context, record);
    const empty = newRecord(
      context,
      tenant,
      pool,
      { reserve: {}, limit: {}, weight: 100, trust: 'pool', workers: 0 },
      'command',
    );
    return { ...(await this.summarize(context, empty)), phase: 'broken' };
  }

  private async summarize(context: Context, record: PoolRecord): Promise<PoolSummary> {
    const paths = poolPaths(this.runtimeDirectory, record.tenant, record.pool);
    const init = livingInit(paths, record);
    const status = init ? await initStatus(context, record).catch(() => null) : null;
    const { reserve, limit, weight, trust } = record.applied ?? record.settings;
    return {
      tenant: record.tenant,
      pool: record.pool,
      name: nameOf(record),
      phase:
        record.phase === 'running' && !init ? 'dead' : record.phase === 'running' && !status ? 'broken' : record.phase,
      reserve,
      limit,
      weight,
      trust,
      init: init ? { pid: init.pid } : null,
      service: status ? status.service : null,
      cgroups: record.cgroups,
      mounts: record.mounts
        .filter((mount) => mount.phase !== 'deleting')
        .map((mount) => summarizeMount(record, mount, status)),
      servers: await summarizeServers(context, record, status),
      directory: paths.directory,
    };
  }

  async mount(
    pool: string,
    filesystem: FilesystemSpec & { mount: string },
    options: CallOptions = {},
  ): Promise<MountSummary> {
    const context = this.context(options);
    checkName('filesystem', filesystem.name);
    checkMountpoint(filesystem.mount);
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    const desired = await compileMount(filesystem, [filesystem]);
    await checkHost([desired]);
    return withPoolLock(context, tenant, poolName, `mount ${desired.mountpoint}`, async () => {
      const record = this.running(tenant, poolName);
      const taken = record.mounts.find(
        (mount) => mount.mountpoint === desired.mountpoint || mount.instance === desired.instance,
      );
      if (taken) throw mountTaken(record, taken, desired);
      const below = record.mounts.find((mount) => mount.mountpoint.startsWith(`${desired.mountpoint}/`));
      if (below) throw nestedMount(record, below, `cannot mount at ${desired.mountpoint}`, 'it would hide');
      if (!options.dryRun) {
        const entry = recordMount(record, desired, 'command');
        await step(
          context,
          `filesystem/${nameOf(record)}/${desired.instance}`,
          `mount ${desired.mountpoint}`,
          async () => {
            await ensureMounted(context, record, entry).catch(async (error: unknown) => {
              await ensureUnmounted(makeContext(this.runtimeDirectory), record, entry, true).catch(() => undefined);
              throw error;
            });
          },
        );
      }
      return summarizeMount(
        record,
        { ...desired, origin: 'command', phase: 'mounted', madeDirectories: [] },
        await initStatus(context, record).catch(() => null),
      );
    });
  }

  async unmount(pool: string, mountpoint: string, options: CallOptions & { force?: boolean } = {}): Promise<void> {
    const context = this.context(options);
    const clean = checkMountpoint(mountpoint);
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    await withPoolLock(context, tenant, poolName, `unmount ${clean}`, async () => {
      const record = this.running(tenant, poolName);
      const entry = record.mounts.find((mount) => mount.mountpoint === clean);
      if (!entry) {
        throw new DicicloError('MOUNT_NOT_FOUND', `pool ${nameOf(record)} has nothing mounted at ${clean}`, {
          exit: ExitStatus.notFound,
          hints: ['diciclo fs list'],
        });
      }
      const below = record.mounts.find((mount) => mount.mountpoint.startsWith(`${clean}/`));
      if (below) throw nestedMount(record, below, `cannot unmount ${clean}`, 'it holds');
      if (options.dryRun) return;
      const title = `unmount ${clean}`;
      await step(context, `filesystem/${nameOf(record)}/${entry.instance}`, title, () =>
        ensureUnmounted(context, record, entry, options.force === true),
      );
    });
  }

  async listMounts(): Promise<MountSummary[]> {
    return (await this.listPools()).flatMap((pool) => pool.mounts);
  }

  async run(
    pool: string,
    command: string[],
    options: EnterOptions & { env?: Record<string, string> },
  ): Promise<number> {
    const argv = await this.enterCommand(pool, command, options);
    return runAttached(argv, options.env ? { ...process.env, ...options.env } : process.env);
  }

  async enterCommand(pool: string, command: string[], options: EnterOptions): Promise<string[]> {
    if (command.length === 0)
      throw new DicicloError('NO_COMMAND', 'there is no command to run', { exit: ExitStatus.usage });
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    const record = this.running(tenant, poolName);
    requireNativeBuild();
    return enterArgv(this.runtimeDirectory, record, command, options);
  }

  stats(pool: string): Promise<Record<string, unknown>> {
    return this.askService(pool, 'stats', {});
  }

  async resetStats(pool: string): Promise<void> {
    await this.askService(pool, 'reset', {});
  }

  queue(pool: string): Promise<Record<string, unknown>> {
    return this.askService(pool, 'queue', {});
  }

  stack(pool: string, mountpoint: string): Promise<Record<string, unknown>> {
    return this.askService(pool, 'stack', { mountpoint: checkMountpoint(mountpoint) });
  }

  private async askService(pool: string, op: string, fields: object): Promise<Record<string, unknown>> {
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    const record = this.running(tenant, poolName);
    const paths = poolPaths(this.runtimeDirectory, tenant, poolName);
    const { ok: _ok, ...answer } = await request<Record<string, unknown>>(paths.service, op, fields, {
      peer: `the service of pool ${nameOf(record)}`,
    });
    return answer;
  }

  async accounting(pool: string): Promise<Accounting> {
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    return accountPool(this.context(), this.recorded(tenant, poolName));
  }

  async upgradeService(pool: string, options: CallOptions = {}): Promise<UpgradeSummary> {
    const context = this.context(options);
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    return withPoolLock(context, tenant, poolName, 'upgrade the service', async () => {
      const record = this.running(tenant, poolName);
      return step(context, `service/${nameOf(record)}`, 'replace the service', () => upgradeService(context, record));
    });
  }

  async listServers(pool?: string): Promise<ServerSummary[]> {
    const pools = pool === undefined ? await this.listPools() : [await this.showPool(pool)];
    return pools.flatMap((each) => each.servers);
  }

  async restartServer(pool: string, server: string, options: CallOptions = {}): Promise<ServerSummary> {
    const context = this.context(options);
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    return withPoolLock(context, tenant, poolName, `restart server ${server}`, async () => {
      const record = this.running(tenant, poolName);
      const entry = findServer(record, server);
      if (!options.dryRun) {
        await step(context, `server/${nameOf(record)}/${server}`, `restart server ${server}`, () =>
          restartServer(context, record, entry),
        );
      }
      const status: InitStatus = await initStatus(context, record);
      const summaries = await summarizeServers(context, { ...record, servers: [entry] }, status);
      return summaries[0] as ServerSummary;
    });
  }

  async serverLog(pool: string, server: string): Promise<string> {
    const { tenant, pool: poolName } = await this.resolvePool(pool);
    const record = this.recorded(tenant, poolName);
    findServer(record, server);
    const file = serverLogFile(poolPaths(this.runtimeDirectory, tenant, poolName), server);
    if (existsSync(file) && statSync(file).isFile()) return file;
    throw new DicicloError('LOG_NOT_FOUND', `server ${server} of pool ${nameOf(record)} has written no log yet`, {
      exit: ExitStatus.notFound,
      hints: ['diciclo server list'],
    });
  }

  private context(options: CallOptions = {}): Context {
    return makeContext(this.runtimeDirectory, options);
  }

  private recorded(tenant: string, pool: string): PoolRecord {
    const record = readPool(this.runtimeDirectory, tenant, pool);
    if (!record) throw poolNotFound(`${tenant}/${pool}`);
    return record;
  }

  /** The record of a pool that is complete and whose first process lives. */
  private running(tenant: string, pool: string): PoolRecord {
    const record = this.recorded(tenant, pool);
    if (record.phase !== 'running')
      throw poolNotRunning(
        nameOf(record),
        record.phase === 'deleting' ? 'its deletion was interrupted' : 'its creation was interrupted',
      );
    if (!livingInit(poolPaths(this.runtimeDirectory, tenant, pool), record))
      throw poolNotRunning(nameOf(record), 'its first process is gone');
    return record;
  }
}

function nestedMount(record: PoolRecord, below: { mountpoint: string }, what: string, why: string): DicicloError {
  return new DicicloError('MOUNT_BUSY', `${what} of pool ${nameOf(record)}: ${why} ${below.mountpoint}`, {
    exit: ExitStatus.conflict,
    hints: [`diciclo fs unmount ${nameOf(record)} ${below.mountpoint}`],
  });
}

function mountTaken(
  record: PoolRecord,
  taken: { instance: string; mountpoint: string },
  desired: { instance: string; mountpoint: string },
): DicicloError {
  const same = taken.mountpoint === desired.mountpoint;
  const sentence = same
    ? `${desired.mountpoint} of pool ${nameOf(record)} is taken by filesystem ${taken.instance}`
    : `pool ${nameOf(record)} has a filesystem ${taken.instance} already, at ${taken.mountpoint}`;
  return new DicicloError(same ? 'MOUNTPOINT_IN_USE' : 'FILESYSTEM_EXISTS', sentence, {
    exit: ExitStatus.conflict,
    hints: ['diciclo fs list', `diciclo fs unmount ${nameOf(record)} ${taken.mountpoint}`],
  });
}
