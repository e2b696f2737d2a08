/**
 * Third step of validation: what only the whole spec tells. Names, mount points, references between filesystems, kinds, claims, reservations against limits.
 * Reservations against the machine are the engine's; directories of the host are `hostChecks`.
 */
import type { FilesystemSpec, PoolSpec, Resources, StackNode, TenantSpec } from '../engine/types.js';
import { type ChildRole, findLibservice } from '../libservices/index.js';
import type { Normalized } from './normalize.js';
import type { Path } from './problems.js';
import { formatSize } from './quantities.js';
import { isReference, MAX_LAYERS, pathProblem, type Report } from './stack.js';

/** Trees of the pool's own kernel: nothing is mounted on or in them. */
const RESERVED_MOUNTS = ['/proc', '/sys', '/dev', '/run/diciclo'];

/** Mounted inside each other: `/data` holds `/data/db`. */
function holds(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer === '/' ? '/' : `${outer}/`);
}

export function checkMeaning({ spec, places }: Normalized, report: Report): void {
  unique(spec.spec.pools, places, report, 'pool');
  for (const pool of spec.spec.pools) {
    const path = places.get(pool) as Path;
    unique(pool.filesystems, places, report, 'filesystem');
    unique(pool.servers, places, report, 'server');
    checkResources(pool, path, report);
    checkMounts(pool.filesystems, places, report);
    checkStacks(pool.filesystems, places, report);
    for (const server of pool.servers) {
      if (server.directory === undefined) continue;
      const problem = pathProblem(server.directory);
      if (problem) report([...(places.get(server) as Path), 'process', 'directory'], problem);
    }
  }
  checkHostMounts(spec, places, report);
}

function unique(items: readonly { name: string }[], places: Map<object, Path>, report: Report, what: string): void {
  const seen = new Set<string>();
  for (const item of items) {
    if (seen.has(item.name)) report([...(places.get(item) as Path), 'name'], `there is another ${what} "${item.name}"`);
    seen.add(item.name);
  }
}

function checkResources(pool: PoolSpec, path: Path, report: Report): void {
  const { reserve, limit } = pool;
  if (reserve.cores !== undefined && limit.cores !== undefined && reserve.cores > limit.cores) {
    report([...path, 'reserve', 'cores'], `reserves ${reserve.cores} cores, above the limit of ${limit.cores}`);
  }
  if (reserve.memory !== undefined && limit.memory !== undefined && reserve.memory > limit.memory) {
    report(
      [...path, 'reserve', 'memory'],
      `reserves ${formatSize(reserve.memory)}, above the limit of ${formatSize(limit.memory)}`,
    );
  }
  for (const [key, resources] of Object.entries({ reserve, limit }) as [string, Resources][]) {
    if (resources.storage !== undefined)
      report([...path, key, 'storage'], 'storage space cannot be reserved or limited in this version');
  }
  if (reserve.io !== undefined)
    report(
      [...path, 'reserve', 'io'],
      'I/O bandwidth cannot be reserved in this version; limit.io and weight can be set',
    );
}

/** What is wrong with a mount point by itself, or undefined. */
export function mountProblem(mount: string): string | undefined {
  const problem = pathProblem(mount);
  if (problem) return problem;
  if (mount === '/') return 'must not be "/"; the command sees the files of the host there';
  const reserved = RESERVED_MOUNTS.find((root) => holds(root, mount));
  return reserved ? `must not be on or in ${reserved}` : undefined;
}

function checkMounts(filesystems: readonly FilesystemSpec[], places: Map<object, Path>, report: Report): void {
  const mounted: { name: string; mount: string }[] = [];
  for (const filesystem of filesystems) {
    const at = places.get(filesystem) as Path;
    if (filesystem.mount === undefined) {
      if (filesystem.host) report([...at, 'host'], 'needs a mount point');
      continue;
    }
    const { name, mount } = filesystem;
    const problem = mountProblem(mount);
    const other = mounted.find((earlier) => earlier.mount === mount);
    if (problem) report([...at, 'mount'], problem);
    else if (other) report([...at, 'mount'], `"${other.name}" is mounted at ${mount} too`);
    mounted.push({ name, mount });
  }
}

/** Host mount points are shared by all pools. */
function checkHostMounts(spec: TenantSpec, places: Map<object, Path>, report: Report): void {
  const mounted = new Map<string, string>();
  for (const pool of spec.spec.pools) {
    for (const filesystem of pool.filesystems) {
      if (!filesystem.host || filesystem.mount === undefined) continue;
      const other = mounted.get(filesystem.mount);
      if (other !== undefined && other !== pool.name) {
        report(
          [...(places.get(filesystem) as Path), 'mount'],
          `the pool "${other}" shows a filesystem at ${filesystem.mount} of the host too`,
        );
      }
      mounted.set(filesystem.mount, pool.name);
    }
  }
}

/** One use of a filesystem by another's stack. */
interface Use {
  by: FilesystemSpec;
  target: string;
  role: ChildRole | undefined;
  node: StackNode;
}

function usesOf(filesystem: FilesystemSpec): Use[] {
  const uses: Use[] = [];
  const walk = (node: StackNode, role: ChildRole | undefined) => {
    if (isReference(node)) uses.push({ by: filesystem, target: String(node.options.name), role, node });
    for (const child of findLibservice(node.type)?.children ?? [])
      for (const below of node.children[child.role] ?? []) walk(below, child);
  };
  walk(filesystem.stack, undefined);
  return uses;
}

function checkStacks(filesystems: readonly FilesystemSpec[], places: Map<object, Path>, report: Report): void {
  const byName = new Map(filesystems.map((filesystem) => [filesystem.name, filesystem]));
  const uses = filesystems.flatMap(usesOf);
  const cyclic = checkCycles(byName, uses, places, report);
  for (const filesystem of filesystems) {
    if (!cyclic.has(filesystem.name)) checkTree(filesystem, byName, places, report);
    checkBacking(filesystem, filesystems, places, report);
  }
  checkClaims(byName, uses, places, report);
}

/** Reports each cycle once; answers the names that are on or lead to one. */
function checkCycles(
  byName: Map<string, FilesystemSpec>,
  uses: readonly Use[],
  places: Map<object, Path>,
  report: Report,
): Set<string> {
  const cyclic = new Set<string>();
  const done = new Set<string>();
  const visit = (name: string, trail: string[]): void => {
    for (const use of uses.filter((candidate) => candidate.by.name === name)) {
      const start = [...trail, name].indexOf(use.target);
      if (start >= 0) {
        const cycle = [...trail, name].slice(start);
        const own = cycle.length === 1 && findLibservice(name) ? `; for the libservice write {${name}: {}}` : '';
        report(
          places.get(use.node) as Path,
          `the filesystem "${name}" would contain itself: ${[...cycle, use.target].join(' -> ')}${own}`,
        );
        for (const member of [...trail, name]) cyclic.add(member);
      } else if (byName.has(use.target)) {
        if (!done.has(use.target)) visit(use.target, [...trail, name]);
        if (cyclic.has(use.target)) cyclic.add(name);
      }
    }
    done.add(name);
  };
  for (const name of byName.keys()) if (!done.has(name)) visit(name, []);
  return cyclic;
}

/** Kinds of children, and the size of the whole tree. */
function checkTree(
  filesystem: FilesystemSpec,
  byName: Map<string, FilesystemSpec>,
  places: Map<object, Path>,
  report: Report,
): void {
  let layers = 0;
  const kindOf = (node: StackNode): string | undefined => {
    const target = isReference(node) ? byName.get(String(node.options.name)) : undefined;
    return target ? kindOf(target.stack) : findLibservice(node.type)?.kind;
  };
  const walk = (node: StackNode): void => {
    const target = isReference(node) ? byName.get(String(node.options.name)) : undefined;
    if (target) {
      walk(target.stack);
      return;
    }
    layers += 1;
    if (layers > MAX_LAYERS) return;
    for (const role of findLibservice(node.type)?.children ?? []) {
      for (const child of node.children[role.role] ?? []) {
        const kind = kindOf(child);
        if (kind !== undefined && kind !== role.kind) {
          report(
            places.get(child) as Path,
            `\`${node.type}\` takes a ${role.kind} libservice in the role "${role.role}", and this one is of the kind ${kind}`,
          );
        }
        walk(child);
      }
    }
  };
  walk(filesystem.stack);
  const at = places.get(filesystem) as Path;
  if (layers > MAX_LAYERS) report([...at, 'stack'], `has more than ${MAX_LAYERS} layers`);
  const kind = kindOf(filesystem.stack);
  if (filesystem.mount !== undefined && kind !== undefined && kind !== 'file') {
    report([...at, 'stack'], `only a file libservice can be mounted, and the topmost one is of the kind ${kind}`);
  }
}

/** A role that claims its child has it alone: two writers would not see each other's changes. */
function checkClaims(
  byName: Map<string, FilesystemSpec>,
  uses: readonly Use[],
  places: Map<object, Path>,
  report: Report,
): void {
  for (const use of uses) {
    if (!use.role?.claim) continue;
    const target = byName.get(use.target);
    const others = uses.filter((other) => other.target === use.target && other !== use);
    const place = places.get(use.node) as Path;
    if (target?.mount !== undefined) {
      report(
        place,
        `"${use.target}" is mounted at ${target.mount} by itself, and a cache above it would not see what is changed there`,
      );
    } else if (others.some((other) => uses.indexOf(other) < uses.indexOf(use))) {
      report(place, `"${use.target}" is used twice, and the two would not see each other's changes`);
    }
  }
}

/** A directory below a mount point of the same pool would be served by the service to itself. */
function checkBacking(
  filesystem: FilesystemSpec,
  filesystems: readonly FilesystemSpec[],
  places: Map<object, Path>,
  report: Report,
): void {
  const walk = (node: StackNode): void => {
    if (node.type === 'local') {
      const path = String(node.options.path);
      const around = filesystems.find((other) => other.mount !== undefined && holds(other.mount, path));
      if (around)
        report(
          [...(places.get(node) as Path), 'path'],
          `lies in ${around.mount}, where "${around.name}" of this pool is mounted`,
        );
    }
    for (const children of Object.values(node.children)) for (const child of children) walk(child);
  };
  walk(filesystem.stack);
}
