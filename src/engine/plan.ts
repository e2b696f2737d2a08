/**
 * Plan: what is wanted + what is recorded and seen -> the steps between them. Pure: reads nothing, changes nothing.
 */
import { admit, type Claim, formatBytes } from './admission.js';
import { canonical } from './json.js';
import type { MachineFacts } from './machine.js';
import type { MountRecord, Origin, PoolRecord, PoolSettings, ServerRecord } from './state.js';
import {
  type Action,
  DicicloError,
  ExitStatus,
  type InstancePlan,
  type PoolSpec,
  type Resources,
  type TenantSpec,
} from './types.js';

/** A filesystem of the spec that is mounted, compiled. */
export interface DesiredMount {
  instance: string;
  mountpoint: string;
  host: boolean;
  door: { cache: 'auto' | 'none' };
  plan: InstancePlan;
  stack: string;
}
export interface DesiredPool {
  spec: PoolSpec;
  mounts: DesiredMount[];
}

/** A recorded pool and what is true of it now. */
export interface ObservedPool {
  record: PoolRecord;
  alive: boolean;
  /** Mountpoints that pool-init reports, null when it could not be asked. */
  mountpoints: string[] | null;
  /** Servers that pool-init knows; null when it could not be asked. */
  servers: string[] | null;
}

export interface PlanInput {
  spec: TenantSpec;
  pools: DesiredPool[];
  /** Pools of every tenant. */
  observed: ObservedPool[];
  /** The tenant's spec as it was last applied to the end; null: never. */
  applied: TenantSpec | null;
  machine: MachineFacts;
}

/** An action with its place, as `apply` needs it. */
export interface Step extends Action {
  pool?: string;
  /** Filesystem or server. */
  item?: string;
}

/** Steps in the order in which they are done. Throws ADMISSION_REFUSED and the like before anything is planned. */
export function planTenant(input: PlanInput): Step[] {
  const tenant = input.spec.metadata.name;
  checkMountpoints(tenant, input.pools);
  const own = input.observed.filter((each) => each.record.tenant === tenant);
  const wanted = new Set(input.pools.map((pool) => pool.spec.name));
  const leaving = own.filter(
    ({ record }) => record.phase === 'deleting' || (record.origin === 'spec' && !wanted.has(record.pool)),
  );
  admit(claimsAfter(input, leaving), input.machine);

  const steps: Step[] = leaving.map(({ record }) => ({
    verb: 'delete',
    object: 'pool',
    name: poolName(record),
    pool: record.pool,
    reasons: [
      wanted.has(record.pool)
        ? 'its deletion was interrupted'
        : record.phase === 'deleting'
          ? 'its deletion was interrupted'
          : 'not in the spec any more',
    ],
  }));
  for (const desired of input.pools) {
    const seen = own.find((each) => each.record.pool === desired.spec.name && !leaving.includes(each));
    steps.push(...planPool(tenant, desired, seen));
  }
  const recorded = input.applied !== null;
  if (!recorded || steps.length > 0 || canonical(input.applied) !== canonical(input.spec)) {
    const reasons = recorded ? (steps.length > 0 ? ['its pools change'] : ['its spec changed']) : ['new'];
    steps.push({ verb: recorded ? 'update' : 'create', object: 'tenant', name: tenant, reasons });
  }
  return steps;
}

/** The action alone, for people and scripts. */
export function toAction(step: Step): Action {
  return { verb: step.verb, object: step.object, name: step.name, reasons: step.reasons };
}

export function settingsOf(spec: PoolSpec): PoolSettings {
  return { reserve: spec.reserve, limit: spec.limit, weight: spec.weight, trust: spec.trust, workers: spec.workers };
}

/** Names of what differs, for people: `limit.memory 4Gi -> 6Gi`. Empty: the same. */
export function settingsDifferences(before: PoolSettings, after: PoolSettings): string[] {
  return [
    ...resourceDifferences('reserve', before.reserve, after.reserve),
    ...resourceDifferences('limit', before.limit, after.limit),
    ...(before.weight === after.weight ? [] : [`weight ${before.weight} -> ${after.weight}`]),
    ...(before.trust === after.trust ? [] : [`trust ${before.trust} -> ${after.trust}`]),
    ...(before.workers === after.workers ? [] : [`workers ${before.workers} -> ${after.workers}`]),
  ];
}

/** True when the change cannot be made while the pool's processes run. */
export function needsRestart(before: PoolSettings, after: PoolSettings): boolean {
  return before.trust !== after.trust || before.workers !== after.workers;
}

export function sameMount(before: DesiredMount, after: DesiredMount): boolean {
  return mountDifferences(before, after).length === 0;
}

/** Mountpoints from the outside in: one mounted below another needs that one first. */
export function outerFirst<T extends { mountpoint: string }>(mounts: readonly T[]): T[] {
  return [...mounts].sort(
    (a, b) => depth(a.mountpoint) - depth(b.mountpoint) || (a.mountpoint < b.mountpoint ? -1 : 1),
  );
}

function depth(mountpoint: string): number {
  return mountpoint.split('/').filter(Boolean).length;
}

function poolName(record: { tenant: string; pool: string }): string {
  return `${record.tenant}/${record.pool}`;
}

function claimsAfter(input: PlanInput, leaving: ObservedPool[]): Claim[] {
  const tenant = input.spec.metadata.name;
  const names = new Set(input.pools.map((pool) => `${tenant}/${pool.spec.name}`));
  const others = input.observed
    .filter((each) => !leaving.includes(each) && !names.has(poolName(each.record)))
    .map(({ record }) => ({
      name: poolName(record),
      reserve: record.settings.reserve,
      limit: record.settings.limit,
      cpus: record.cpus,
    }));
  const mine = input.pools.map(({ spec }) => ({
    name: `${tenant}/${spec.name}`,
    reserve: spec.reserve,
    limit: spec.limit,
    cpus: null,
  }));
  return [...others, ...mine];
}

function checkMountpoints(tenant: string, pools: DesiredPool[]): void {
  const onHost = new Map<string, string>();
  for (const { spec, mounts } of pools) {
    const seen = new Map<string, string>();
    for (const mount of mounts) {
      const other = seen.get(mount.mountpoint) ?? (mount.host ? onHost.get(mount.mountpoint) : undefined);
      if (other) {
        throw new DicicloError(
          'MOUNTPOINT_IN_USE',
          `filesystems ${other} and ${mount.instance} of ${tenant}/${spec.name} have the same mount point ${mount.mountpoint}`,
          {
            exit: ExitStatus.conflict,
          },
        );
      }
      seen.set(mount.mountpoint, mount.instance);
      if (mount.host) onHost.set(mount.mountpoint, mount.instance);
    }
  }
}

function planPool(tenant: string, desired: DesiredPool, seen: ObservedPool | undefined): Step[] {
  const pool = desired.spec.name;
  const name = `${tenant}/${pool}`;
  const base = { object: 'pool' as const, name, pool };
  const after = settingsOf(desired.spec);
  if (!seen) return [{ ...base, verb: 'create', reasons: ['new'] }, ...planContents(tenant, desired, undefined, false)];
  const { record } = seen;
  const differences = settingsDifferences(record.applied ?? record.settings, after);
  const steps: Step[] = [];
  let fresh = false;
  if (record.phase === 'creating' || record.applied === null) {
    steps.push({ ...base, verb: 'create', reasons: ['its creation was interrupted', ...differences] });
    fresh = !seen.alive;
  } else if (!seen.alive) {
    steps.push({ ...base, verb: 'restart', reasons: ['its first process is gone', ...differences] });
    fresh = true;
  } else if (needsRestart(record.applied, after)) {
    steps.push({ ...base, verb: 'restart', reasons: differences });
    fresh = true;
  } else if (differences.length > 0) {
    steps.push({ ...base, verb: 'update', reasons: differences });
  } else if (record.origin === 'command') {
    steps.push({ ...base, verb: 'update', reasons: ['made by a command, from now on kept by the spec'] });
  }
  return [...steps, ...planContents(tenant, desired, seen, fresh)];
}

/** `fresh`: the pool's processes start anew, so everything in it is made again. */
function planContents(tenant: string, desired: DesiredPool, seen: ObservedPool | undefined, fresh: boolean): Step[] {
  const prefix = `${tenant}/${desired.spec.name}`;
  const filesystems = planMounts(desired, seen, fresh);
  const disturbed = filesystems.filter((step) => step.verb !== 'create').map((step) => step.item as string);
  const servers = planServers(desired, seen, fresh, disturbed);
  const named = (object: 'filesystem' | 'server') => (step: Omit<Step, 'name' | 'object'>) => ({
    ...step,
    object,
    name: `${prefix}/${step.item}`,
    pool: desired.spec.name,
  });
  // Servers that leave go first (they hold files open), servers that come go last (they need their filesystems).
  return [
    ...servers.filter((step) => step.verb === 'delete').map(named('server')),
    ...filesystems.map(named('filesystem')),
    ...servers.filter((step) => step.verb !== 'delete').map(named('server')),
  ];
}

type Part = Omit<Step, 'name' | 'object'>;

function planMounts(desired: DesiredPool, seen: ObservedPool | undefined, fresh: boolean): Part[] {
  const records = seen?.record.mounts ?? [];
  const wanted = new Set(desired.mounts.map((mount) => mount.instance));
  const taken = new Set(desired.mounts.map((mount) => mount.mountpoint));
  const leaving: Part[] = [];
  const coming: (Part & { mountpoint: string })[] = [];
  for (const record of outerFirst(records).reverse()) {
    if (wanted.has(record.instance)) continue;
    const interrupted = record.phase === 'deleting';
    // What a command mounted stays, unless the spec now wants its place.
    if (record.origin === 'command' && !interrupted && !taken.has(record.mountpoint)) {
      const reasons = keptMountReasons(record, fresh);
      if (reasons) coming.push({ ...reasons, item: record.instance, mountpoint: record.mountpoint });
    } else {
      const why = interrupted ? 'its deletion was interrupted' : 'not in the spec any more';
      leaving.push({ verb: 'delete', item: record.instance, reasons: [why] });
    }
  }
  for (const mount of desired.mounts) {
    const mine = records.filter((record) => record.instance === mount.instance);
    const reasons = mountReasons(mine, mount, seen, fresh);
    if (reasons) coming.push({ ...reasons, item: mount.instance, mountpoint: mount.mountpoint });
  }
  coming.push(...mountedBelow(records, leaving, coming));
  return [...leaving, ...outerFirst(coming).map(({ mountpoint: _mountpoint, ...part }) => part)];
}

function keptMountReasons(record: MountRecord, fresh: boolean): Pick<Action, 'verb' | 'reasons'> | null {
  if (fresh) return { verb: 'create', reasons: ['the pool starts anew'] };
  if (record.phase === 'creating') return { verb: 'create', reasons: ['its creation was interrupted'] };
  return null;
}

/** What is mounted below a place that changes is taken away before and mounted again after. */
function mountedBelow(
  records: readonly MountRecord[],
  leaving: readonly Part[],
  coming: readonly (Part & { mountpoint: string })[],
): (Part & { mountpoint: string })[] {
  const planned = new Set([...leaving, ...coming].map((part) => part.item));
  const changing: { item?: string; mountpoint: string }[] = [...coming];
  changing.push(
    ...records.filter((each) => planned.has(each.instance)).map((each) => ({ item: each.instance, ...each })),
  );
  return records
    .filter((record) => !planned.has(record.instance))
    .flatMap((record) => {
      const around = changing.find((change) => record.mountpoint.startsWith(`${change.mountpoint}/`));
      if (!around) return [];
      const reasons = [`filesystem ${around.item} around it changes`];
      return [{ verb: 'update' as const, item: record.instance, mountpoint: record.mountpoint, reasons }];
    });
}

function mountReasons(
  mine: MountRecord[],
  mount: DesiredMount,
  seen: ObservedPool | undefined,
  fresh: boolean,
): Pick<Action, 'verb' | 'reasons'> | null {
  const current = mine.find((record) => record.phase !== 'deleting');
  if (!current) return { verb: 'create', reasons: [mine.length > 0 ? 'its change was interrupted' : 'new'] };
  const differences = mountDifferences(current, mount);
  if (fresh) return { verb: 'create', reasons: ['the pool starts anew', ...differences] };
  if (differences.length > 0) return { verb: 'update', reasons: differences };
  if (current.phase === 'creating' || mine.length > 1)
    return { verb: 'create', reasons: ['its creation was interrupted'] };
  if (seen?.mountpoints && !seen.mountpoints.includes(mount.mountpoint))
    return { verb: 'create', reasons: ['not mounted'] };
  return null;
}

function mountDifferences(before: DesiredMount, after: DesiredMount): string[] {
  const differences: string[] = [];
  if (before.mountpoint !== after.mountpoint) differences.push(`mount ${before.mountpoint} -> ${after.mountpoint}`);
  if (before.host !== after.host) differences.push(`host ${before.host} -> ${after.host}`);
  if (before.door.cache !== after.door.cache)
    differences.push(`door.cache ${before.door.cache} -> ${after.door.cache}`);
  if (before.stack !== after.stack) differences.push(`stack ${before.stack} -> ${after.stack}`);
  else differences.push(...planDifferences(before.plan, after.plan));
  return differences;
}

function planDifferences(before: InstancePlan, after: InstancePlan): string[] {
  if (canonical(before) === canonical(after)) return [];
  const differences: string[] = [];
  for (const node of after.nodes) {
    const old = before.nodes.find((each) => each.id === node.id);
    for (const [key, value] of Object.entries(node.options)) {
      const was = old?.options[key];
      if (canonical(was) !== canonical(value))
        differences.push(`${node.type}.${key} ${canonical(was) ?? 'unset'} -> ${canonical(value)}`);
    }
  }
  return differences.length > 0 ? differences : ['stack changed'];
}

function planServers(
  desired: DesiredPool,
  seen: ObservedPool | undefined,
  fresh: boolean,
  disturbed: string[],
): Part[] {
  const parts: Part[] = [];
  const records = seen?.record.servers ?? [];
  const wanted = new Set(desired.spec.servers.map((server) => server.name));
  for (const { spec, phase, origin } of records) {
    if (wanted.has(spec.name) || (origin === 'command' && phase !== 'deleting')) continue;
    parts.push({
      verb: 'delete',
      item: spec.name,
      reasons: [phase === 'deleting' ? 'its deletion was interrupted' : 'not in the spec any more'],
    });
  }
  for (const server of desired.spec.servers) {
    const record = records.find((each) => each.spec.name === server.name);
    const reasons = serverReasons(record, server, seen, fresh, disturbed);
    if (reasons) parts.push({ ...reasons, item: server.name });
  }
  return parts;
}

function serverReasons(
  record: ServerRecord | undefined,
  server: PoolSpec['servers'][number],
  seen: ObservedPool | undefined,
  fresh: boolean,
  disturbed: string[],
): Pick<Action, 'verb' | 'reasons'> | null {
  if (!record) return { verb: 'create', reasons: ['new'] };
  if (fresh) return { verb: 'create', reasons: ['the pool starts anew'] };
  const differences = Object.keys({ ...record.spec, ...server }).filter(
    (key) => canonical((record.spec as never)[key]) !== canonical((server as never)[key]),
  );
  if (differences.length > 0) return { verb: 'update', reasons: differences.map((key) => `${key} changed`) };
  if (record.phase !== 'started') return { verb: 'create', reasons: ['its start was interrupted'] };
  if (seen?.servers && !seen.servers.includes(server.name)) return { verb: 'create', reasons: ['not started'] };
  if (disturbed.length > 0) return { verb: 'restart', reasons: [`filesystem ${disturbed.join(', ')} changes`] };
  return null;
}

function resourceDifferences(what: string, before: Resources, after: Resources): string[] {
  const differences: string[] = [];
  for (const key of ['cores', 'memory', 'storage'] as const) {
    if (before[key] === after[key]) continue;
    const show = (value: number | undefined) =>
      value === undefined ? 'none' : key === 'cores' ? String(value) : formatBytes(value);
    differences.push(`${what}.${key} ${show(before[key])} -> ${show(after[key])}`);
  }
  if (canonical(before.io ?? {}) !== canonical(after.io ?? {})) differences.push(`${what}.io changed`);
  return differences;
}

export type { Origin };
