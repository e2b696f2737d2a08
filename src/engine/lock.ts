/**
 * Locks that survive the death of their holder. Node has no flock(2), so a lock is a file that names its holder by pid, start time and boot;
 * it is made by link(2), so it appears with its content or not at all. A lock whose holder is gone is taken over: the right to replace
 * exactly that holding is itself a lock (named after the holding's unique id), so of many who find it stale only one replaces it, and one that
 * comes late sees another id and starts again.
 */
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, interrupted, wrapError } from './errors.js';
import { removeIfThere } from './json.js';
import { bootId, isAlive, self } from './process.js';
import { DicicloError, ExitStatus } from './types.js';

export interface Holder {
  id: string;
  pid: number;
  startTime: number;
  boot: string;
  /** What the holder does, for the message of those who wait. */
  what: string;
  since: string;
}

export interface Lock {
  readonly file: string;
  readonly holder: Holder;
  release(): void;
}

export interface LockOptions {
  /** What is locked, for messages: `pool acme/db`. */
  subject: string;
  /** What we are going to do. */
  what: string;
  /** milliseconds to wait for a living holder; default 60 s */
  timeout?: number;
  signal?: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 60_000;
let counter = 0;

/** Takes the lock. Rejects with LOCK_TIMEOUT (exit 8) that names the holder, or INTERRUPTED. */
export async function acquireLock(file: string, options: LockOptions): Promise<Lock> {
  const holder = newHolder(options.what);
  const deadline = Date.now() + (options.timeout ?? DEFAULT_TIMEOUT_MS);
  const temporary = `${file}.${holder.id}`;
  prepare(temporary, holder);
  try {
    for (let wait = 2; ; wait = Math.min(wait * 2, 100)) {
      const found = await tryOnce(file, temporary, deadline, holder);
      if (found === 'mine') return { file, holder, release: () => releaseLock(file, holder) };
      if (options.signal?.aborted) throw interrupted(options.what);
      if (found && Date.now() >= deadline) throw lockTimeout(found, options);
      if (found) await sleep(wait);
    }
  } finally {
    removeIfThere(temporary);
  }
}

/** Runs `work` under the lock; releases it whatever happens. */
export async function withLock<T>(file: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(file, options);
  try {
    return await work();
  } finally {
    lock.release();
  }
}

/** The living or dead holder that the file names; null when there is none. */
export function readHolder(file: string): Holder | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return null;
  }
  try {
    const value = JSON.parse(text) as Holder;
    if (typeof value.id === 'string' && typeof value.pid === 'number') return value;
  } catch {
    // falls through: damaged, treated as held by nobody alive
  }
  return { id: `damaged-${text.length}`, pid: 0, startTime: 0, boot: '', what: 'unknown', since: '' };
}

export function holderIsAlive(holder: Holder): boolean {
  return holder.boot === bootId() && isAlive(holder);
}

function newHolder(what: string): Holder {
  const { pid, startTime } = self();
  const id = `${pid}-${startTime}-${counter++}-${Math.random().toString(36).slice(2, 8)}`;
  return { id, pid, startTime, boot: bootId(), what, since: new Date().toISOString() };
}

function prepare(temporary: string, holder: Holder): void {
  try {
    mkdirSync(path.dirname(temporary), { recursive: true, mode: 0o711 });
    writeFileSync(temporary, JSON.stringify(holder), { mode: 0o600 });
  } catch (error) {
    throw wrapError(error, 'LOCK_FAILED', `cannot make the lock file ${temporary}`, [
      'run as root, or set DICICLO_RUNTIME_DIR to a directory of yours',
    ]);
  }
}

/** 'mine', the living holder, or null when the state changed under us (try again at once). */
async function tryOnce(
  file: string,
  temporary: string,
  deadline: number,
  holder: Holder,
): Promise<'mine' | Holder | null> {
  try {
    linkSync(temporary, file);
    return 'mine';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      // The directory was removed with its pool while we waited: the place is free, its next user makes it anew.
      prepare(temporary, holder);
      return null;
    }
    if (errnoOf(error) !== 'EEXIST') throw wrapError(error, 'LOCK_FAILED', `cannot lock ${file}`);
  }
  const found = readHolder(file);
  if (!found) return null;
  if (holderIsAlive(found)) return found;
  return (await takeOver(file, temporary, found, deadline)) ? 'mine' : null;
}

/** Replaces exactly the holding `stale`; false when somebody else did. */
async function takeOver(file: string, temporary: string, stale: Holder, deadline: number): Promise<boolean> {
  const claim = await acquireLock(`${file}.over-${stale.id}`, {
    subject: `the lock ${path.basename(file)}`,
    what: 'take over a dead lock',
    timeout: Math.max(1000, deadline - Date.now()),
  });
  try {
    if (readHolder(file)?.id !== stale.id) return false;
    renameSync(temporary, file);
    sweepLock(file);
    return true;
  } finally {
    claim.release();
  }
}

/** Removes temporary files that dead processes left beside the lock. */
export function sweepLock(file: string): void {
  const prefix = `${path.basename(file)}.`;
  for (const name of readdirSync(path.dirname(file))) {
    if (!name.startsWith(prefix)) continue;
    // `lock.PID-START-...`, or a claim `lock.over-ID` (and what was left beside that).
    const claim = readHolder(path.join(path.dirname(file), name));
    const [pid, startTime] = claim ? [claim.pid, claim.startTime] : name.slice(prefix.length).split('-').map(Number);
    if (pid === undefined || startTime === undefined || isAlive({ pid, startTime })) continue;
    removeIfThere(path.join(path.dirname(file), name));
  }
}

function releaseLock(file: string, holder: Holder): void {
  if (readHolder(file)?.id === holder.id) removeIfThere(file);
}

function lockTimeout(found: Holder, options: LockOptions): DicicloError {
  const seconds = (options.timeout ?? DEFAULT_TIMEOUT_MS) / 1000;
  return new DicicloError(
    'LOCK_TIMEOUT',
    `${options.subject} is held by process ${found.pid} (${found.what}, since ${found.since}); waited ${seconds} s`,
    {
      exit: ExitStatus.timeout,
      hints: ['wait for it, or give a longer --timeout', `ps -fp ${found.pid}`],
      details: { pid: found.pid },
    },
  );
}
