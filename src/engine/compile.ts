/**
 * From the filesystems of a spec to what the native side mounts, and the look at the host before anything is made.
 */
import { checkMountpoint } from './mounts.js';
import type { DesiredMount, DesiredPool } from './plan.js';
import { DicicloError, ExitStatus, type FilesystemSpec, type InstancePlan, type PoolSpec } from './types.js';

/** The mounted filesystems of `pool`, compiled. Filesystems without a mount point are only parts of others. */
export async function compilePool(pool: PoolSpec): Promise<DesiredPool> {
  const mounts: DesiredMount[] = [];
  for (const filesystem of pool.filesystems) {
    if (filesystem.mount !== undefined)
      mounts.push(await compileMount({ ...filesystem, mount: filesystem.mount }, pool.filesystems));
  }
  return { spec: pool, mounts };
}

export async function compileMount(
  filesystem: FilesystemSpec & { mount: string },
  all: FilesystemSpec[],
): Promise<DesiredMount> {
  const { compileInstance } = await import('../spec/compile.js');
  const plan: InstancePlan = compileInstance(filesystem, all);
  return {
    instance: filesystem.name,
    mountpoint: checkMountpoint(filesystem.mount),
    host: filesystem.host,
    door: { cache: filesystem.door.cache },
    plan,
    stack: describeStack(plan),
  };
}

/** Types from the top down along the first child: `cache/local`. */
export function describeStack(plan: InstancePlan): string {
  const types: string[] = [];
  let id: string | undefined = plan.root;
  while (id !== undefined && types.length < plan.nodes.length) {
    const node = plan.nodes.find((each) => each.id === id);
    if (!node) break;
    types.push(node.type);
    id = Object.values(node.children).flat()[0];
  }
  return types.join('/');
}

/** Throws HOST_NOT_READY (exit 6) for the first thing that a stack needs and this host lacks (a directory, a package). */
export async function checkHost(mounts: readonly DesiredMount[]): Promise<void> {
  const { hostChecks } = await import('../libservices/index.js');
  for (const mount of mounts) {
    const finding = (await hostChecks(mount.plan)).find((each) => each.status === 'missing');
    if (!finding) continue;
    throw new DicicloError(
      'HOST_NOT_READY',
      `filesystem ${mount.instance} (${mount.stack}): ${finding.detail || finding.title}`,
      {
        exit: ExitStatus.prerequisite,
        hints: finding.fix ? [finding.fix] : [],
        details: { finding: finding.id },
      },
    );
  }
}
