/**
 * One command inside a pool, with the caller's own terminal, signals and exit status.
 */
import { spawn } from 'node:child_process';
import { shellStatus } from './child.js';
import { errnoOf } from './errors.js';
import { nativeBuild, poolPaths } from './paths.js';
import { procsFiles } from './resources/index.js';
import type { PoolRecord } from './state.js';
import { DicicloError, type EnterOptions, ExitStatus } from './types.js';

/** The `diciclo-enter ...` command line (docs/contract.md §3). */
export function enterArgv(
  runtime: string,
  record: PoolRecord,
  command: readonly string[],
  options: EnterOptions,
): string[] {
  const build = nativeBuild();
  const { directory } = poolPaths(runtime, record.tenant, record.pool);
  return [
    build.enter,
    '--dir',
    directory,
    '--door',
    options.door,
    ...(options.door === 'library' ? ['--library', build.library] : []),
    ...(options.syscalls === 'dispatch' ? ['--syscalls', 'dispatch'] : []),
    ...procsFiles(record.cgroups).flatMap((file) => ['--cgroup', file]),
    ...(options.cwd === undefined ? [] : ['--cwd', options.cwd]),
    '--',
    ...command,
  ];
}

/** Signals that one may send to the command line tool and that are meant for the command. */
const FORWARDED: NodeJS.Signals[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'];
/** The terminal sends these to every process in its foreground, the command included: passed on they would arrive twice. */
const FROM_TERMINAL = new Set<NodeJS.Signals>(['SIGINT', 'SIGQUIT', 'SIGWINCH', 'SIGHUP', 'SIGCONT']);

/** Resolves with the command's exit status, 128+N when signal N ended it. Rejects only when diciclo-enter itself cannot be started. */
export function runAttached(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const terminal = process.stdin.isTTY === true;
    const child = spawn(argv[0] as string, argv.slice(1), { stdio: 'inherit', env });
    const handlers = FORWARDED.map((signal) => {
      const handler = () => {
        if (!terminal || !FROM_TERMINAL.has(signal)) child.kill(signal);
      };
      process.on(signal, handler);
      return [signal, handler] as const;
    });
    const finish = () => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
    };
    child.on('error', (cause) => {
      finish();
      const missing = errnoOf(cause) === 'ENOENT';
      reject(
        new DicicloError(missing ? 'NATIVE_NOT_BUILT' : 'ENTER_FAILED', `cannot start ${argv[0]}: ${cause.message}`, {
          exit: missing ? ExitStatus.prerequisite : ExitStatus.failed,
          hints: ['node scripts/setup.mjs'],
          cause,
        }),
      );
    });
    child.on('exit', (code, signal) => {
      finish();
      resolve(shellStatus(code, signal));
    });
  });
}
