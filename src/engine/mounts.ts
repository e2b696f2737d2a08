/**
 * Filesystem instances of a pool: recorded, mounted, taken away. All under the pool lock.
 */
import path from 'node:path';
import { type Context, nameOf } from './context.js';
import { request } from './control.js';
import { faultPoint } from './fault.js';
import { hostMount, hostUnmount, isHostMounted, missingDirectories, removeMadeDirectories } from './hostmounts.js';
import { poolPaths } from './paths.js';
import type { DesiredMount } from './plan.js';
import { type InitStatus, initStatus } from './pools.js';
import { type MountRecord, type Origin, type PoolRecord, writePool } from './state.js';
import { DicicloError, ExitStatus, type MountSummary } from './types.js';

const MOUNT_TIMEOUT_MS = 30_000;

/** Throws INVALID_MOUNTPOINT (usage) for what cannot be one. Returns it without `.`, `//` and a final slash. */
export function checkMountpoint(mountpoint: string): string {
  const invalid = (why: string) =>
    new DicicloError('INVALID_MOUNTPOINT', `${mountpoint} cannot be a mount point: ${why}`, { exit: ExitStatus.usage });
  if (!path.isAbsolute(mountpoint)) throw invalid('it is not an absolute path');
  if (mountpoint.includes('\0')) throw invalid('it holds a zero byte');
  if (mountpoint.split('/').includes('..')) throw invalid('it holds ..');
  const clean = path.normalize(mountpoint).replace(/\/+$/, '') || '/';
  if (clean === '/') throw invalid('the root directory is the pool itself');
  if (/^\/(proc|sys|dev)(\/|$)/.test(clean)) throw invalid("/proc, /sys and /dev are the kernel's");
  return clean;
}

/** Adds the entry to the record (not yet written). */
export function recordMount(record: PoolRecord, desired: DesiredMount, origin: Origin): MountRecord {
  const entry: MountRecord = { ...desired, origin, phase: 'creating', madeDirectories: [] };
  record.mounts.push(entry);
  return entry;
}

/** Brings one recorded mount about. `entry` must be in `record.mounts`. */
export async function ensureMounted(context: Context, record: PoolRecord, entry: MountRecord): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const status = await initStatus(context, record);
  const nested = record.mounts.some((other) => other !== entry && entry.mountpoint.startsWith(`${other.mountpoint}/`));
  // Inside another instance of the pool the missing directory is that instance's matter; the host has nothing to remember.
  if (!nested) {
    const missing = missingDirectories(entry.mountpoint);
    if (missing.length > 0) entry.madeDirectories = missing;
  }
  entry.phase = 'creating';
  writePool(context.runtime, record);
  faultPoint('mount-recorded');
  if (!isMounted(status, entry)) {
    const fields = {
      instance: entry.instance,
      mountpoint: entry.mountpoint,
      plan: entry.plan,
      door: entry.door,
      makeDirectory: true,
    };
    const timeout = context.remaining(`mounting ${entry.mountpoint}`, MOUNT_TIMEOUT_MS);
    await request(paths.control, 'mount', fields, {
      peer: `pool ${nameOf(record)}`,
      timeout,
      signal: context.signal,
    }).catch((error: unknown) => {
      throw mountFailed(record, entry, error);
    });
  }
  faultPoint('mount-made');
  if (entry.host) await hostMount(context, record, entry.mountpoint);
  entry.phase = 'mounted';
  writePool(context.runtime, record);
  faultPoint('mount-done');
}

function isMounted(status: InitStatus, entry: { instance: string; mountpoint: string }): boolean {
  return status.mounts.some((mount) => mount.mountpoint === entry.mountpoint && mount.instance === entry.instance);
}

function mountFailed(record: PoolRecord, entry: MountRecord, error: unknown): unknown {
  if (!(error instanceof DicicloError) || error.code === 'TIMEOUT' || error.code === 'INTERRUPTED') return error;
  return new DicicloError(
    error.code,
    `cannot mount ${entry.instance} at ${entry.mountpoint} of pool ${nameOf(record)}: ${error.message}`,
    {
      exit: error.code === 'ENOENT' ? ExitStatus.failed : error.exit,
      cause: error,
      hints: [...error.hints, 'diciclo doctor'],
    },
  );
}

/**
 * Takes one recorded mount away and drops it from the record. With `force` open files do not stop it.
 * Rejects with MOUNT_BUSY (exit 4) otherwise; then it stays as it was.
 */
export async function ensureUnmounted(
  context: Context,
  record: PoolRecord,
  entry: MountRecord,
  force: boolean,
): Promise<void> {
  await takeAway(context, record, entry, 'deleting', force);
  removeMadeDirectories(entry.madeDirectories);
  record.mounts = record.mounts.filter((each) => each !== entry);
  writePool(context.runtime, record);
  faultPoint('unmount-done');
}

/** Takes one recorded mount away for a while: it stays recorded, to be mounted again. */
export async function setAside(context: Context, record: PoolRecord, entry: MountRecord): Promise<void> {
  await takeAway(context, record, entry, 'creating', false);
}

async function takeAway(
  context: Context,
  record: PoolRecord,
  entry: MountRecord,
  phase: MountRecord['phase'],
  force: boolean,
): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const before = entry.phase;
  entry.phase = phase;
  writePool(context.runtime, record);
  faultPoint('unmount-recorded');
  const shown = entry.host && isHostMounted(entry.mountpoint);
  if (entry.host) await hostUnmount(context, record, entry.mountpoint);
  const status = await initStatus(context, record);
  if (isMounted(status, entry)) {
    const peer = `pool ${nameOf(record)}`;
    const timeout = context.remaining(`unmounting ${entry.mountpoint}`, MOUNT_TIMEOUT_MS);
    try {
      const fields = { mountpoint: entry.mountpoint, force };
      await request(paths.control, 'unmount', fields, { peer, timeout, signal: context.signal });
    } catch (error) {
      if (!(error instanceof DicicloError) || error.code !== 'EBUSY') throw error;
      if (shown) await hostMount(context, record, entry.mountpoint);
      entry.phase = before;
      writePool(context.runtime, record);
      throw busy(record, entry, error);
    }
  }
  faultPoint('unmounted');
}

function busy(record: PoolRecord, entry: MountRecord, cause: unknown): DicicloError {
  return new DicicloError('MOUNT_BUSY', `${entry.mountpoint} of pool ${nameOf(record)} has open files`, {
    exit: ExitStatus.conflict,
    cause,
    hints: [
      `diciclo fs unmount ${nameOf(record)} ${entry.mountpoint} --force`,
      `diciclo run ${nameOf(record)} --door kernel -- fuser -vm ${entry.mountpoint}`,
    ],
  });
}

export function summarizeMount(record: PoolRecord, entry: MountRecord, status: InitStatus | null): MountSummary {
  const live = status?.mounts.find((mount) => mount.mountpoint === entry.mountpoint);
  return {
    pool: nameOf(record),
    instance: entry.instance,
    mountpoint: entry.mountpoint,
    device: live?.device ?? '',
    host: entry.host,
    stack: entry.stack,
  };
}
