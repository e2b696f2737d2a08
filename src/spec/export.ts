/** The full form of a spec as a spec again: every default written out, quantities with their units. Validating it gives the same spec. */
import type { FilesystemSpec, PoolSpec, Resources, ServerSpec, StackNode, TenantSpec } from '../engine/types.js';
import { findLibservice } from '../libservices/index.js';
import { formatDuration, formatSize } from './quantities.js';
import { isReference } from './stack.js';

type Plain = Record<string, unknown>;

/** Plain data, ready for YAML or JSON. */
export function exportTenant(spec: TenantSpec): Plain {
  return {
    apiVersion: spec.apiVersion,
    kind: spec.kind,
    metadata: { ...spec.metadata },
    spec: { pools: spec.spec.pools.map(exportPool) },
  };
}

function exportPool(pool: PoolSpec): Plain {
  return {
    name: pool.name,
    reserve: exportResources(pool.reserve),
    limit: exportResources(pool.limit),
    weight: pool.weight,
    trust: pool.trust,
    workers: pool.workers,
    filesystems: pool.filesystems.map(exportFilesystem),
    servers: pool.servers.map(exportServer),
  };
}

/** Resources as a spec writes them: `{cores: 2, memory: '1Gi'}`. */
export function exportResources(resources: Resources): Plain {
  const plain: Plain = {};
  if (resources.cores !== undefined) plain.cores = resources.cores;
  for (const key of ['memory', 'storage'] as const)
    if (resources[key] !== undefined) plain[key] = formatSize(resources[key]);
  if (resources.io) {
    const { rbps, wbps, ...counts } = resources.io;
    plain.io = {
      ...(rbps === undefined ? {} : { rbps: formatSize(rbps) }),
      ...(wbps === undefined ? {} : { wbps: formatSize(wbps) }),
      ...counts,
    };
  }
  return plain;
}

function exportFilesystem(filesystem: FilesystemSpec): Plain {
  const { name, mount, host, door, stack } = filesystem;
  return { name, ...(mount === undefined ? {} : { mount }), host, door: { ...door }, stack: exportStack(stack) };
}

/** As a list from the top down, while each layer has a child in its main role; other roles inside the layer. */
export function exportStack(stack: StackNode): unknown[] {
  const layers: unknown[] = [];
  let node: StackNode | undefined = stack;
  while (node) {
    const current: StackNode = node;
    if (isReference(current)) {
      layers.push(current.options.name);
      break;
    }
    const libservice = findLibservice(current.type);
    const main = libservice?.children.find((role) => role.main);
    const options: Plain = {};
    for (const option of libservice?.options ?? []) {
      const value = current.options[option.name];
      if (value !== undefined)
        options[option.name] =
          option.type === 'size'
            ? formatSize(Number(value))
            : option.type === 'duration'
              ? formatDuration(Number(value))
              : value;
    }
    for (const role of libservice?.children ?? []) {
      const children = current.children[role.role] ?? [];
      if (role !== main && children.length > 0)
        options[role.role] = role.max === 1 ? exportStack(children[0] as StackNode) : children.map(exportStack);
    }
    layers.push({ [current.type]: options });
    node = main ? current.children[main.role]?.[0] : undefined;
  }
  return layers;
}

function exportServer(server: ServerSpec): Plain {
  const { name, kind, health, stopGrace, ...rest } = server;
  const process: Plain = { ...rest, stopGrace: formatDuration(stopGrace) };
  if (health) {
    const { interval, timeout, startPeriod, ...others } = health;
    process.health = {
      ...others,
      interval: formatDuration(interval),
      timeout: formatDuration(timeout),
      startPeriod: formatDuration(startPeriod),
    };
  }
  return { name, [kind]: process };
}
