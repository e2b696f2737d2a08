/**
 * Short-lived child processes of the engine: output captured, bounded in time, never left behind.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { errnoOf } from './errors.js';

export interface Outcome {
  /** Exit status; 128+N when killed by signal N; 127 when the program was not found. */
  status: number;
  /** Both outputs, the last 4 KiB of each. */
  stdout: string;
  stderr: string;
  timedOut: boolean;
}

export interface CaptureOptions {
  /** milliseconds */
  timeout: number;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
}

const OUTPUT_BYTES_MAX = 4096;
/** Numbers of the signals that end programs, the same on every Linux architecture we run on. */
export const SIGNAL_NUMBERS: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGSYS: 31,
};

/** The status a shell would report. */
export function shellStatus(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0);
}

/** Runs a program to its end. Never rejects: what went wrong is in the outcome. */
export function capture(argv: readonly string[], options: CaptureOptions): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(argv[0] as string, argv.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env ?? process.env,
    });
    const output = { stdout: '', stderr: '' };
    let late = false;
    const end = () => child.kill('SIGKILL');
    const timer = setTimeout(() => {
      late = true;
      end();
    }, options.timeout);
    options.signal?.addEventListener('abort', end);
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        output[name] = (output[name] + chunk.toString('utf8')).slice(-OUTPUT_BYTES_MAX);
      });
    }
    let settled = false;
    const finish = (status: number, stderr = output.stderr) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', end);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ status, stdout: output.stdout.trim(), stderr: stderr.trim(), timedOut: late });
    };
    child.on('error', (error) => finish(errnoOf(error) === 'ENOENT' ? 127 : 126, error.message));
    // The process's end, not that of its outputs: a daemon it started may keep those open.
    child.on('exit', (code, signal) => setImmediate(() => finish(shellStatus(code, signal))));
  });
}

/**
 * Starts a program that goes on in the background after its parent has exited. Its stderr goes to a file that is read when it fails,
 * so that what stays behind holds no pipe of ours.
 */
export function launch(argv: readonly string[], errorFile: string, options: CaptureOptions): Promise<Outcome> {
  return new Promise((resolve) => {
    const errors = openSync(errorFile, 'w', 0o600);
    const child = spawn(argv[0] as string, argv.slice(1), {
      stdio: ['ignore', errors, errors],
      env: options.env ?? process.env,
      detached: true,
      cwd: '/',
    });
    closeSync(errors);
    let late = false;
    const end = () => child.kill('SIGKILL');
    const timer = setTimeout(() => {
      late = true;
      end();
    }, options.timeout);
    options.signal?.addEventListener('abort', end);
    const finish = (status: number, message?: string) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', end);
      const stderr = message ?? readFileSync(errorFile, 'utf8').slice(-OUTPUT_BYTES_MAX).trim();
      rmSync(errorFile, { force: true });
      resolve({ status, stdout: '', stderr, timedOut: late });
    };
    child.on('error', (error) => finish(errnoOf(error) === 'ENOENT' ? 127 : 126, error.message));
    child.on('exit', (code, signal) => finish(shellStatus(code, signal)));
  });
}
