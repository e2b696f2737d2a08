/**
 * Makers of the engine's errors, so that one situation has one code, one exit status and one way to say it.
 */
import { DicicloError, ExitStatus } from './types.js';

/** Text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name of a Node system error (`ENOENT`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** A DicicloError passes as it is; anything else becomes one with `code` and the sentence `what`. */
export function wrapError(error: unknown, code: string, what: string, hints: string[] = []): DicicloError {
  if (error instanceof DicicloError) return error;
  const errno = errnoOf(error);
  const exit = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS' ? ExitStatus.permission : ExitStatus.failed;
  return new DicicloError(code, `${what}: ${messageOf(error)}`, { cause: error, hints, exit });
}

export function poolNotFound(name: string): DicicloError {
  return new DicicloError('POOL_NOT_FOUND', `there is no pool ${name}`, {
    exit: ExitStatus.notFound,
    hints: ['diciclo pool list', `diciclo pool create ${name}`],
  });
}

export function poolNotRunning(name: string, why: string): DicicloError {
  return new DicicloError('POOL_NOT_RUNNING', `pool ${name} is not running: ${why}`, {
    exit: ExitStatus.notFound,
    hints: [`diciclo pool show ${name}`, 'diciclo apply -f SPEC starts it again', `diciclo pool destroy ${name} --yes`],
  });
}

export function poolExists(name: string, phase: string): DicicloError {
  return new DicicloError('POOL_EXISTS', `pool ${name} exists already (${phase})`, {
    exit: ExitStatus.conflict,
    hints: [`diciclo pool show ${name}`, `diciclo pool destroy ${name} --yes`],
  });
}

export function invalidName(what: string, name: string): DicicloError {
  return new DicicloError(
    'INVALID_NAME',
    `${what} name ${JSON.stringify(name)} is not valid: expected 1 to 63 of a-z 0-9 . _ -, starting with a letter or digit`,
    { exit: ExitStatus.usage },
  );
}

export function timedOut(what: string, milliseconds: number, hints: string[] = []): DicicloError {
  return new DicicloError('TIMEOUT', `${what} took longer than ${milliseconds / 1000} s`, {
    exit: ExitStatus.timeout,
    hints,
  });
}

export function interrupted(what: string): DicicloError {
  return new DicicloError('INTERRUPTED', `interrupted while about to ${what}`, {
    exit: ExitStatus.interrupted,
    hints: ['the same command again finishes the work', 'diciclo delete takes it back'],
  });
}
