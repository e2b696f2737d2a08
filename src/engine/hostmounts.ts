/**
 * What a mount leaves on the host itself: the directory under its mount point, and (host: true) the kernel door in the host's own mount table.
 */
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { capture } from './child.js';
import { type Context, nameOf } from './context.js';
import { errnoOf } from './errors.js';
import { nativeBuild, poolPaths } from './paths.js';
import type { PoolRecord } from './state.js';
import { DicicloError } from './types.js';

const HOST_MOUNT_TIMEOUT_MS = 15_000;

export interface MountEntry {
  mountpoint: string;
  device: string;
  type: string;
}

/** Mounts of the caller's own mount namespace. */
export function mountTable(text = readFileSync('/proc/self/mountinfo', 'utf8')): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const words = left?.split(' ') ?? [];
    if (!right || words.length < 5) continue;
    const mountpoint = (words[4] as string).replace(/\\([0-7]{3})/g, (_all, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    entries.push({ mountpoint, device: words[2] as string, type: right.split(' ')[0] as string });
  }
  return entries;
}

/** True when the host itself shows a FUSE mount there. */
export function isHostMounted(mountpoint: string): boolean {
  return mountTable().some((entry) => entry.mountpoint === mountpoint && entry.type.startsWith('fuse'));
}

/** Shows the pool's mount on the host at the same path. */
export async function hostMount(context: Context, record: PoolRecord, mountpoint: string): Promise<void> {
  if (isHostMounted(mountpoint)) return;
  const { directory } = poolPaths(context.runtime, record.tenant, record.pool);
  const outcome = await capture([nativeBuild().enter, '--dir', directory, '--host-mount', mountpoint], {
    timeout: HOST_MOUNT_TIMEOUT_MS,
  });
  if (outcome.status === 0) return;
  throw new DicicloError(
    'HOST_MOUNT_FAILED',
    `cannot show ${mountpoint} of pool ${nameOf(record)} on the host: ${outcome.stderr || `status ${outcome.status}`}`,
  );
}

/** Takes it away again, by force when the pool's processes are gone. */
export async function hostUnmount(context: Context, record: PoolRecord, mountpoint: string): Promise<void> {
  if (!isHostMounted(mountpoint)) return;
  const { directory } = poolPaths(context.runtime, record.tenant, record.pool);
  const enter = nativeBuild().enter;
  if (existsSync(enter))
    await capture([enter, '--dir', directory, '--host-unmount', mountpoint], { timeout: HOST_MOUNT_TIMEOUT_MS });
  if (!isHostMounted(mountpoint)) return;
  const outcome = await capture(['umount', '-l', mountpoint], { timeout: HOST_MOUNT_TIMEOUT_MS });
  if (!isHostMounted(mountpoint)) return;
  throw new DicicloError(
    'HOST_UNMOUNT_FAILED',
    `cannot unmount ${mountpoint} on the host: ${outcome.stderr || `status ${outcome.status}`}`,
    {
      hints: [`umount -l ${mountpoint}`],
    },
  );
}

/** Directories on the way to `mountpoint` that do not exist yet, outermost first. */
export function missingDirectories(mountpoint: string): string[] {
  const missing: string[] = [];
  for (let at = mountpoint; at !== '/' && !existsSync(at); at = path.dirname(at)) missing.unshift(at);
  return missing;
}

/** Removes them again, innermost first; one that somebody has put something into stays. */
export function removeMadeDirectories(directories: readonly string[]): void {
  for (const directory of [...directories].reverse()) {
    try {
      rmdirSync(directory);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' || errno === 'ENOTDIR') continue;
      if (errno === 'ENOTEMPTY' || errno === 'EEXIST' || errno === 'EBUSY' || errno === 'EROFS') return;
      throw error;
    }
  }
}
