/**
 * Where things live: the runtime directory (docs/contract.md §2) and the native build (§1). Names only, no effects.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalidName } from './errors.js';
import { DicicloError, ExitStatus } from './types.js';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/;
/** sizeof(sockaddr_un.sun_path) - 1 */
const SOCKET_PATH_BYTES_MAX = 107;

/** `$DICICLO_RUNTIME_DIR`, else /run/diciclo for root, else `$XDG_RUNTIME_DIR/diciclo`. */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.DICICLO_RUNTIME_DIR) return path.resolve(env.DICICLO_RUNTIME_DIR);
  if (process.getuid?.() === 0) return '/run/diciclo';
  if (env.XDG_RUNTIME_DIR) return path.join(env.XDG_RUNTIME_DIR, 'diciclo');
  throw new DicicloError('NO_RUNTIME_DIRECTORY', 'there is no runtime directory for this user', {
    exit: ExitStatus.prerequisite,
    hints: ['run as root, or set DICICLO_RUNTIME_DIR or XDG_RUNTIME_DIR'],
  });
}

/** Name of the control group below which every tenant's groups are made. */
export function cgroupParent(env: NodeJS.ProcessEnv = process.env): string {
  return env.DICICLO_CGROUP_PARENT || 'diciclo';
}

/** The nearest directory above this file that holds package.json: the checkout, from src/ and from dist/ alike. */
export function checkoutDirectory(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  for (let depth = 0; depth < 6; depth++) {
    if (existsSync(path.join(directory, 'package.json'))) return directory;
    directory = path.dirname(directory);
  }
  return path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
}

export interface NativeBuild {
  directory: string;
  service: string;
  poolInit: string;
  enter: string;
  tune: string;
  library: string;
  modules: string;
}

/** Paths of the native programs, whether built or not. */
export function nativeBuild(env: NodeJS.ProcessEnv = process.env): NativeBuild {
  const directory = env.DICICLO_BUILD_DIR
    ? path.resolve(env.DICICLO_BUILD_DIR)
    : path.join(checkoutDirectory(), 'build');
  return {
    directory,
    service: path.join(directory, 'service/diciclo-service'),
    poolInit: path.join(directory, 'init/diciclo-pool-init'),
    enter: path.join(directory, 'init/diciclo-enter'),
    tune: path.join(directory, 'tune/diciclo-tune'),
    library: path.join(directory, 'library/libdiciclo.so'),
    modules: path.join(directory, 'libservices'),
  };
}

/** The native programs, or a PREREQUISITE error that says how to build them. */
export function requireNativeBuild(): NativeBuild {
  const build = nativeBuild();
  for (const file of [build.poolInit, build.service, build.enter]) {
    if (existsSync(file)) continue;
    throw new DicicloError('NATIVE_NOT_BUILT', `${file} is not built`, {
      exit: ExitStatus.prerequisite,
      hints: ['node scripts/setup.mjs', 'or set DICICLO_BUILD_DIR to a native build'],
    });
  }
  return build;
}

export interface PoolPaths {
  directory: string;
  record: string;
  lock: string;
  init: string;
  control: string;
  service: string;
  attach: string;
  mounts: string;
  logs: string;
}

/** Throws INVALID_NAME (usage) for names that cannot be a directory and a control group. */
export function checkName(what: string, name: string): void {
  if (!NAME.test(name) || name.includes('..')) throw invalidName(what, name);
}

export function poolPaths(runtime: string, tenant: string, pool: string): PoolPaths {
  checkName('tenant', tenant);
  checkName('pool', pool);
  const directory = path.join(runtime, 'pools', tenant, pool);
  const paths = {
    directory,
    record: path.join(directory, 'pool.json'),
    lock: path.join(directory, 'lock'),
    init: path.join(directory, 'init.json'),
    control: path.join(directory, 'control.sock'),
    service: path.join(directory, 'service.sock'),
    attach: path.join(directory, 'attach.sock'),
    mounts: path.join(directory, 'mounts'),
    logs: path.join(directory, 'log'),
  };
  const bytes = Buffer.byteLength(paths.control);
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    throw new DicicloError(
      'PATH_TOO_LONG',
      `the pool's socket path is ${bytes} bytes long, the kernel allows ${SOCKET_PATH_BYTES_MAX}`,
      {
        exit: ExitStatus.usage,
        hints: ['use shorter names, or a shorter DICICLO_RUNTIME_DIR'],
      },
    );
  }
  return paths;
}

export function tenantFile(runtime: string, tenant: string): string {
  checkName('tenant', tenant);
  return path.join(runtime, 'tenants', `${tenant}.json`);
}

export function serverLogFile(paths: PoolPaths, server: string): string {
  checkName('server', server);
  return path.join(paths.logs, `server-${server}.log`);
}
