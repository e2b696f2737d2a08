/**
 * JSON files that are either the old or the new version, whatever happens while they are written.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { errnoOf, wrapError } from './errors.js';
import { DicicloError } from './types.js';

let counter = 0;

/** Replaces `file` atomically (temporary file beside it, fsync, rename). `mode` in octal, default 0600: records may hold secrets. */
export function writeJson(file: string, value: unknown, mode = 0o600): void {
  const temporary = `${file}.${process.pid}.${counter++}.tmp`;
  try {
    const fd = openSync(temporary, 'wx', mode);
    try {
      writeSync(fd, `${JSON.stringify(value, null, 2)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    removeIfThere(temporary);
    throw wrapError(error, 'STATE_NOT_WRITTEN', `cannot write ${file}`);
  }
}

/** null when the file does not exist; STATE_CORRUPT when it is not JSON or not of `schema`. */
export function readJson<T extends { schema: number }>(file: string, schema: number, hints: string[]): T | null {
  const text = readText(file);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(file, 'is not valid JSON (truncated or damaged)', hints, error);
  }
  if (typeof value !== 'object' || value === null) throw corrupt(file, 'does not hold an object', hints);
  const found = (value as { schema?: unknown }).schema;
  if (found !== schema) {
    const newer = typeof found === 'number' && found > schema;
    throw corrupt(
      file,
      newer
        ? `was written by a newer Diciclo (schema ${found}, expected ${schema})`
        : `has no known schema (expected ${schema})`,
      hints,
    );
  }
  return value as T;
}

export function corrupt(file: string, why: string, hints: string[], cause?: unknown): DicicloError {
  return new DicicloError('STATE_CORRUPT', `${file} ${why}`, { hints, cause });
}

/** Text of a file; null when it does not exist. */
export function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return null;
    throw wrapError(error, 'STATE_NOT_READ', `cannot read ${file}`);
  }
}

export function removeIfThere(file: string): boolean {
  try {
    unlinkSync(file);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return false;
    throw wrapError(error, 'STATE_NOT_REMOVED', `cannot remove ${file}`);
  }
}

/** Makes a directory and what is missing above it, each with mode 0711. */
export function makeStateDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o711 });
  } catch (error) {
    throw wrapError(error, 'STATE_NOT_WRITTEN', `cannot make the directory ${directory}`, [
      'run as root, or set DICICLO_RUNTIME_DIR to a directory of yours',
    ]);
  }
}

/** Same value, whatever the order of its keys: for comparing what is wanted with what is recorded. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : item,
  );
}
