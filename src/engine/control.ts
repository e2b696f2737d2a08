/**
 * Client of the JSON-lines control sockets of pool-init and the service (docs/contract.md §3, §4). One request, one connection.
 */
import { createConnection } from 'node:net';
import { errnoOf, timedOut } from './errors.js';
import { DicicloError, ExitStatus } from './types.js';

export interface RequestOptions {
  /** milliseconds; default 10 s */
  timeout?: number;
  /** Whom we talk to, for messages: `the service of pool acme/db`. */
  peer: string;
  signal?: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

/** errno names that the native side answers with, to exit statuses. */
const EXITS: Record<string, ExitStatus> = {
  ENOENT: ExitStatus.notFound,
  ESRCH: ExitStatus.notFound,
  EEXIST: ExitStatus.conflict,
  EBUSY: ExitStatus.conflict,
  EINVAL: ExitStatus.usage,
  EPERM: ExitStatus.permission,
  EACCES: ExitStatus.permission,
  ETIMEDOUT: ExitStatus.timeout,
};

/**
 * Sends one request and resolves with the answer's fields.
 * Rejects with NOT_RUNNING (exit 3) when nobody listens, TIMEOUT (8), PROTOCOL (1), or the code that the peer gave.
 */
export async function request<T extends object>(
  socket: string,
  op: string,
  fields: object,
  options: RequestOptions,
): Promise<T> {
  const line = await exchange(socket, `${JSON.stringify({ op, ...fields })}\n`, op, options);
  let answer: { ok?: unknown; error?: { code?: string; message?: string } };
  try {
    answer = JSON.parse(line);
  } catch (cause) {
    throw new DicicloError(
      'PROTOCOL',
      `${options.peer} answered ${op} with something that is not JSON: ${line.slice(0, 80)}`,
      { cause },
    );
  }
  if (answer.ok === true) return answer as T;
  const code = answer.error?.code ?? 'FAILED';
  const message = answer.error?.message ?? `${options.peer} refused ${op} without a reason`;
  throw new DicicloError(code, message, { exit: EXITS[code] ?? ExitStatus.failed, details: { op } });
}

function exchange(socket: string, line: string, op: string, options: RequestOptions): Promise<string> {
  const timeout = options.timeout ?? DEFAULT_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    const connection = createConnection(socket);
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (error: unknown, value?: string) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
      connection.destroy();
      if (error) reject(error);
      else resolve(value as string);
    };
    const abort = () =>
      finish(
        new DicicloError('INTERRUPTED', `interrupted while waiting for ${options.peer}`, {
          exit: ExitStatus.interrupted,
        }),
      );
    const timer = setTimeout(() => finish(timedOut(`${op} on ${options.peer}`, timeout)), timeout);
    options.signal?.addEventListener('abort', abort);
    connection.on('connect', () => connection.write(line));
    connection.on('data', (chunk: Buffer) => {
      const end = chunk.indexOf(10);
      chunks.push(end < 0 ? chunk : chunk.subarray(0, end));
      size += chunk.length;
      if (end >= 0) finish(null, Buffer.concat(chunks).toString('utf8'));
      else if (size > ANSWER_BYTES_MAX)
        finish(new DicicloError('PROTOCOL', `${options.peer} answered ${op} with more than 16 MiB`));
    });
    connection.on('end', () => finish(hungUp(options.peer, op)));
    connection.on('error', (cause) => finish(unreachable(cause, options.peer)));
  });
}

function hungUp(peer: string, op: string): DicicloError {
  return new DicicloError('HUNG_UP', `${peer} closed the connection before it answered ${op}`, {
    exit: ExitStatus.failed,
  });
}

function unreachable(cause: unknown, peer: string): DicicloError {
  const errno = errnoOf(cause);
  if (errno === 'ECONNREFUSED' || errno === 'ENOENT' || errno === 'ENOTDIR') {
    return new DicicloError('NOT_RUNNING', `${peer} does not answer: nobody listens on its socket`, {
      exit: ExitStatus.notFound,
      cause,
    });
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new DicicloError('PERMISSION', `${peer} may not be asked by this user`, {
      exit: ExitStatus.permission,
      cause,
      hints: ['run as root'],
    });
  }
  return new DicicloError('HUNG_UP', `the connection to ${peer} broke: ${errno ?? String(cause)}`, { cause });
}
