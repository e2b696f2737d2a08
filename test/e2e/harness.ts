/**
 * A real pool for tests with real programs: its own runtime directory, cgroup parent and backing directory below the machine's temporary directory, and everything away afterwards.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExecaError, execa } from 'execa';
import { afterAll, beforeAll } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import type { Engine, FilesystemSpec, PoolSpec } from '../../src/engine/types.js';
import { parseStack } from '../../src/spec/index.js';

export type Door = 'library' | 'kernel';
export const doors: readonly Door[] = ['library', 'kernel'];
/** Whether the library carries a program's first calls as well (vitest.config.ts); users' programs leave those to the kernel door. */
export const eager = process.env.DICICLO_PATIENCE === '0';

export interface TestPool {
  engine: Engine;
  pool: string;
  /** mount point inside the pool */
  mount: string;
  /** the host directory behind it */
  backing: string;
  /** everything of this pool; removed by `destroy` */
  work: string;
  /** Runs a shell script in the pool; rejects when it fails. */
  sh(door: Door, script: string, options?: { cwd?: string; timeout?: number }): Promise<string>;
  /** As `sh`, with the exit status. */
  tryRun(
    door: Door,
    command: string[],
    options?: { cwd?: string; timeout?: number },
  ): Promise<{ status: number; output: string }>;
  servicePid(): Promise<number>;
  destroy(): Promise<void>;
}

/** Should this process be killed, somebody else takes everything below `work` away. */
function watch(work: string): void {
  const script = path.resolve(import.meta.dirname, '../reaper.py');
  const reaper = spawn('python3', [script, work], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  reaper.on('error', () => {});
  reaper.unref();
  (reaper.stdin as unknown as { unref(): void }).unref();
}

export function poolSpec(name: string): PoolSpec {
  return { name, reserve: {}, limit: {}, weight: 100, trust: 'pool', workers: 0, filesystems: [], servers: [] };
}

/** A pool with one filesystem at `mount`; `stack` may name the backing directory as BACKING. */
export async function makePool(
  stack = '[cache: {size: 64Mi}, local: {path: BACKING}]',
  settings: Partial<PoolSpec> = {},
): Promise<TestPool> {
  const work = mkdtempSync(path.join(os.tmpdir(), 'diciclo-e2e-'));
  const backing = path.join(work, 'backing');
  const mount = path.join(work, 'data');
  watch(work);
  mkdirSync(backing);
  process.env.DICICLO_RUNTIME_DIR = path.join(work, 'run');
  process.env.DICICLO_CGROUP_PARENT = path.basename(work);
  const engine = createEngine();
  const pool = 'default/test';
  const filesystem: FilesystemSpec & { mount: string } = {
    name: 'data',
    mount,
    host: false,
    door: { cache: 'auto' },
    stack: parseStack(stack.replaceAll('BACKING', backing), 'test'),
  };
  const destroy = async () => {
    const log = path.join(work, 'run/pools/default/test/log/service.log');
    const report = existsSync(log)
      ? /^.*(?:Sanitizer|runtime error)(?:.*\n?){1,120}/m.exec(readFileSync(log, 'utf8'))
      : null;
    await engine.destroyPool(pool).catch((error) => {
      if (error.code !== 'POOL_NOT_FOUND') throw error;
    });
    rmSync(work, { recursive: true, force: true });
    if (report) throw new Error(`the sanitized service reported: ${report[0]}`);
  };
  try {
    await engine.createPool('default', { ...poolSpec('test'), ...settings }, { timeout: 30_000 });
    await engine.mount(pool, filesystem, { timeout: 30_000 });
  } catch (error) {
    await destroy();
    throw error;
  }
  const tryRun: TestPool['tryRun'] = async (door, command, options = {}) => {
    const argv = await engine.enterCommand(pool, command, { door, cwd: options.cwd ?? mount });
    const result = await execa(argv[0] as string, argv.slice(1), {
      all: true,
      reject: false,
      stdin: 'ignore',
      timeout: options.timeout ?? 240_000,
    });
    return { status: result.exitCode ?? 255, output: result.all ?? (result as ExecaError).message ?? '' };
  };
  return {
    engine,
    pool,
    mount,
    backing,
    work,
    tryRun,
    destroy,
    async sh(door, script, options) {
      const { status, output } = await tryRun(door, ['bash', '-c', `set -e -o pipefail\n${script}`], options);
      if (status !== 0) throw new Error(`${door}: status ${status}\n${script}\n${output}`);
      return output;
    },
    async servicePid() {
      return (await engine.showPool(pool)).service?.pid ?? 0;
    },
  };
}

/** The pool of all tests of a file, or of a `describe`: there before the first, gone after the last. */
export function sharedPool(...what: Parameters<typeof makePool>): TestPool {
  const shared = {} as TestPool;
  beforeAll(async () => {
    Object.assign(shared, await makePool(...what));
  }, 300_000);
  afterAll(() => shared.destroy?.(), 300_000);
  return shared;
}

/** Waits until `holds` says so; rejects after `seconds`. */
export async function until(what: string, seconds: number, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await holds().catch(() => false)); await sleep(50))
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
}

interface Counts {
  library: number;
  kernel: number;
}
/** All operations by door since the last reset. */
export async function operations(pool: TestPool): Promise<Record<string, Counts>> {
  const stats = (await pool.engine.stats(pool.pool)) as unknown as {
    instances: { doors: Record<Door, { operations: Record<string, { count: number }> }> }[];
  };
  const counts: Record<string, Counts> = {};
  for (const door of doors)
    for (const [name, operation] of Object.entries(stats.instances[0]?.doors[door].operations ?? {})) {
      counts[name] ??= { library: 0, kernel: 0 };
      counts[name][door] += operation.count;
    }
  return counts;
}
export function total(counts: Record<string, Counts>, door: Door): number {
  return Object.values(counts).reduce((sum, count) => sum + count[door], 0);
}
