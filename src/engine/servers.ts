/**
 * Storage servers of a pool: processes that pool-init starts and restarts; their health is asked from inside the pool.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { capture } from './child.js';
import { type Context, nameOf } from './context.js';
import { request } from './control.js';
import { interrupted } from './errors.js';
import { faultPoint } from './fault.js';
import { poolPaths, serverLogFile } from './paths.js';
import { type InitStatus, initStatus } from './pools.js';
import { enterArgv } from './run.js';
import { type PoolRecord, type ServerRecord, writePool } from './state.js';
import { DicicloError, ExitStatus, type ServerSpec, type ServerSummary } from './types.js';

const STOP_MARGIN_MS = 5_000;

/** Starts one recorded server unless it runs, and waits for its health. */
export async function ensureStarted(context: Context, record: PoolRecord, entry: ServerRecord): Promise<void> {
  const { spec } = entry;
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  entry.phase = 'creating';
  writePool(context.runtime, record);
  faultPoint('server-recorded');
  const status = await initStatus(context, record);
  if (!status.servers.some((server) => server.name === spec.name && server.state === 'running')) {
    const fields = {
      name: spec.name,
      argv: spec.command,
      env: spec.environment,
      cwd: spec.directory ?? '/',
      log: serverLogFile(paths, spec.name),
      restart: spec.restart,
      door: spec.door,
      syscalls: spec.syscalls ?? 'symbols',
    };
    // A server that ended for good is still known by its name.
    if (status.servers.some((server) => server.name === spec.name)) await stopServer(context, record, spec);
    await request(paths.control, 'server-start', fields, { peer: `pool ${nameOf(record)}`, signal: context.signal });
  }
  faultPoint('server-started');
  await waitForHealth(context, record, spec);
  entry.phase = 'started';
  writePool(context.runtime, record);
  faultPoint('server-done');
}

/** Stops one recorded server and drops it from the record. */
export async function ensureStopped(context: Context, record: PoolRecord, entry: ServerRecord): Promise<void> {
  entry.phase = 'deleting';
  writePool(context.runtime, record);
  faultPoint('server-stop-recorded');
  await stopServer(context, record, entry.spec);
  faultPoint('server-stopped');
  record.servers = record.servers.filter((each) => each !== entry);
  writePool(context.runtime, record);
}

/** The server's own signal first, SIGKILL after its grace. No error when it is not known. */
export async function stopServer(context: Context, record: PoolRecord, spec: ServerSpec): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const fields = { name: spec.name, signal: spec.stopSignal.replace(/^SIG/, ''), graceSeconds: spec.stopGrace / 1000 };
  try {
    await request(paths.control, 'server-stop', fields, {
      peer: `pool ${nameOf(record)}`,
      timeout: spec.stopGrace + STOP_MARGIN_MS,
    });
  } catch (error) {
    if (!(error instanceof DicicloError) || error.code !== 'ENOENT') throw error;
  }
}

export async function restartServer(context: Context, record: PoolRecord, entry: ServerRecord): Promise<void> {
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const fields = { name: entry.spec.name, graceSeconds: entry.spec.stopGrace / 1000 };
  const timeout = entry.spec.stopGrace + STOP_MARGIN_MS;
  await request(paths.control, 'server-restart', fields, {
    peer: `pool ${nameOf(record)}`,
    timeout,
    signal: context.signal,
  });
  await waitForHealth(context, record, entry.spec);
}

/** One health check, run inside the pool and charged to it; true when it exits 0 in time. */
async function isHealthy(context: Context, record: PoolRecord, spec: ServerSpec): Promise<boolean> {
  if (!spec.health) return true;
  const argv = enterArgv(context.runtime, record, spec.health.command, { door: 'kernel', cwd: spec.directory ?? '/' });
  const outcome = await capture(argv, {
    timeout: spec.health.timeout,
    signal: context.signal,
    env: { ...process.env, ...spec.environment },
  });
  return outcome.status === 0;
}

/** Failures within the start period do not count; after it `retries` in a row are the end. */
async function waitForHealth(context: Context, record: PoolRecord, spec: ServerSpec): Promise<void> {
  const what = `server ${spec.name} of pool ${nameOf(record)}`;
  const { health } = spec;
  const started = Date.now();
  for (let failures = 0; ; ) {
    const server = (await initStatus(context, record)).servers.find((each) => each.name === spec.name);
    if (!server || (server.state !== 'running' && server.state !== 'backoff'))
      throw serverEnded(context, record, spec, server);
    if (!health) return;
    if (await isHealthy(context, record, spec)) return;
    if (context.signal?.aborted) throw interrupted(`wait for ${what}`);
    context.remaining(`waiting for ${what}`, 1);
    if (Date.now() - started > health.startPeriod) failures++;
    if (failures >= Math.max(1, health.retries)) {
      throw new DicicloError(
        'SERVER_UNHEALTHY',
        `${what} does not become healthy: ${health.command.join(' ')} failed ${failures} times`,
        {
          hints: [`diciclo server logs ${spec.name} --pool ${nameOf(record)}`, `diciclo server list`],
        },
      );
    }
    // While it starts it is asked more often: a start period is what it may take, not what it shall take.
    await sleep(Date.now() - started < health.startPeriod ? Math.min(100, health.interval) : health.interval);
  }
}

function serverEnded(
  context: Context,
  record: PoolRecord,
  spec: ServerSpec,
  server: InitStatus['servers'][number] | undefined,
): DicicloError {
  const log = serverLogFile(poolPaths(context.runtime, record.tenant, record.pool), spec.name);
  const status = server?.exit === null || server?.exit === undefined ? '' : ` with status ${server.exit}`;
  return new DicicloError('SERVER_FAILED', `server ${spec.name} of pool ${nameOf(record)} ended${status}`, {
    hints: [existsSync(log) ? `see ${log}` : `${spec.command[0]}: is it installed?`],
  });
}

/** All servers of a pool; each one's health is asked once, all at the same time. */
export async function summarizeServers(
  context: Context,
  record: PoolRecord,
  status: InitStatus | null,
): Promise<ServerSummary[]> {
  return Promise.all(
    record.servers.map(async ({ spec }) => {
      const live = status?.servers.find((server) => server.name === spec.name);
      const state = serverState(live?.state);
      const health = !spec.health
        ? 'none'
        : state !== 'running'
          ? 'unknown'
          : (await isHealthy(context, record, spec))
            ? 'healthy'
            : 'unhealthy';
      return {
        pool: nameOf(record),
        name: spec.name,
        pid: live?.pid || null,
        state,
        restarts: live?.restarts ?? 0,
        health,
        command: spec.command,
      };
    }),
  );
}

function serverState(state: string | undefined): ServerSummary['state'] {
  if (state === 'running' || state === 'backoff' || state === 'failed') return state;
  return 'stopped';
}

export function findServer(record: PoolRecord, name: string): ServerRecord {
  const entry = record.servers.find((each) => each.spec.name === name);
  if (entry) return entry;
  throw new DicicloError('SERVER_NOT_FOUND', `pool ${nameOf(record)} has no server ${name}`, {
    exit: ExitStatus.notFound,
    hints: ['diciclo server list'],
  });
}
