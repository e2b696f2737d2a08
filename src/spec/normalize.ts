/**
 * From data of the right shape to the full form: short forms resolved, quantities in base units, every default filled in. Reports quantities and stacks that
 * the schema cannot judge.
 */
import type { FilesystemSpec, PoolSpec, Resources, ServerSpec, StackNode, TenantSpec } from '../engine/types.js';
import { normalizeProcess, type RawProcess } from '../servers/process.js';
import type { Path } from './problems.js';
import { parseCores, parseDuration, parseSize } from './quantities.js';
import { type Report, type StackContext, stackFrom } from './stack.js';

/** The name of a pool in the short form that says none. */
export const SHORT_POOL_NAME = 'main';

type Raw = Record<string, unknown>;

/** The full form, and where its parts stood. A filesystem whose stack had problems is left out. */
export interface Normalized {
  spec: TenantSpec;
  places: Map<object, Path>;
}

/** `raw` has passed the tenant schema. */
export function normalizeTenant(raw: unknown, report: Report): Normalized {
  const tenant = raw as { metadata: { name: string; labels?: Record<string, string> }; spec: Raw };
  const places = new Map<object, Path>();
  const given = tenant.spec.pools as Raw[] | undefined;
  const pools = given
    ? given.map((pool, index) => normalizePool(pool, ['spec', 'pools', index], report, places))
    : [normalizePool({ name: SHORT_POOL_NAME, ...tenant.spec }, ['spec'], report, places)];
  const { name, labels } = tenant.metadata;
  return {
    spec: {
      apiVersion: 'diciclo/v1',
      kind: 'Tenant',
      metadata: labels ? { name, labels: { ...labels } } : { name },
      spec: { pools },
    },
    places,
  };
}

function normalizePool(raw: Raw, path: Path, report: Report, places: Map<object, Path>): PoolSpec {
  const filesystems = (raw.filesystems ?? []) as Raw[];
  const context: StackContext = {
    filesystems: new Set(filesystems.map(({ name }) => String(name))),
    report,
    places: places as Map<StackNode, Path>,
  };
  const pool: PoolSpec = {
    name: String(raw.name),
    reserve: normalizeResources((raw.reserve ?? {}) as Raw, [...path, 'reserve'], report),
    limit: normalizeResources((raw.limit ?? {}) as Raw, [...path, 'limit'], report),
    weight: (raw.weight as number | undefined) ?? 100,
    trust: (raw.trust as PoolSpec['trust'] | undefined) ?? 'pool',
    workers: (raw.workers as number | undefined) ?? 0,
    filesystems: filesystems
      .map((filesystem, index) => normalizeFilesystem(filesystem, [...path, 'filesystems', index], context))
      .filter((filesystem) => filesystem !== undefined),
    servers: ((raw.servers ?? []) as Raw[]).map((server, index) =>
      normalizeServer(server, [...path, 'servers', index], report, places),
    ),
  };
  places.set(pool, path);
  return pool;
}

function normalizeResources(raw: Raw, path: Path, report: Report): Resources {
  const resources: Resources = {};
  const size = (value: unknown, key: string, at: Path): number | undefined => {
    if (value === undefined) return undefined;
    const bytes = parseSize(value);
    if (bytes === undefined || bytes === 0) report([...at, key], 'must be a whole number of bytes above 0');
    return bytes;
  };
  if (raw.cores !== undefined) {
    const cores = parseCores(raw.cores);
    if (cores === undefined) report([...path, 'cores'], 'must be a number of cores, at least 0.001');
    else resources.cores = cores;
  }
  for (const key of ['memory', 'storage'] as const) {
    const bytes = size(raw[key], key, path);
    if (bytes !== undefined) resources[key] = bytes;
  }
  if (raw.io !== undefined) {
    const given = raw.io as Raw;
    const io: NonNullable<Resources['io']> = {};
    for (const key of ['rbps', 'wbps'] as const) {
      const rate = size(given[key], key, [...path, 'io']);
      if (rate !== undefined) io[key] = rate;
    }
    for (const key of ['riops', 'wiops', 'weight'] as const) {
      if (given[key] !== undefined) io[key] = given[key] as number;
    }
    resources.io = io;
  }
  return resources;
}

function normalizeFilesystem(raw: Raw, path: Path, context: StackContext): FilesystemSpec | undefined {
  const stack = stackFrom(raw.stack, [...path, 'stack'], context);
  if (!stack) return undefined;
  const filesystem: FilesystemSpec = {
    name: String(raw.name),
    ...(raw.mount === undefined ? {} : { mount: String(raw.mount) }),
    host: raw.host === true,
    door: { cache: ((raw.door as Raw | undefined)?.cache as 'auto' | 'none' | undefined) ?? 'auto' },
    stack,
  };
  (context.places as Map<object, Path>).set(filesystem, path);
  return filesystem;
}

function normalizeServer(raw: Raw, path: Path, report: Report, places: Map<object, Path>): ServerSpec {
  const server = normalizeProcess(String(raw.name), raw.process as RawProcess, (value, fallback, key) => {
    if (value === undefined) return fallback;
    const milliseconds = parseDuration(value);
    if (milliseconds === undefined) report([...path, 'process', ...key], 'must be a whole number of milliseconds');
    return milliseconds ?? fallback;
  });
  if (server.syscalls === 'dispatch' && server.door === 'kernel')
    report([...path, 'process', 'syscalls'], 'needs door: library, which catches the calls');
  places.set(server, path);
  return server;
}
