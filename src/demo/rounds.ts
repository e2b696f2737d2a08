/** One round of the demo: db_bench on one path to storage, with what it cost the pool. */
import { execa } from 'execa';
import { DicicloError, type Engine } from '../engine/types.js';
import {
  type Benchmark,
  type BenchmarkResult,
  benchmarks,
  dbBench,
  parseFound,
  parseResult,
  type Sizes,
} from './benchmark.js';

export type Path = 'library' | 'kernel door' | 'host ext4';

export interface Measurement extends BenchmarkResult {
  /** CPU time of the whole pool (application, service, kernel on their behalf) per operation, microseconds */
  cpuMicrosecondsPerOperation: number;
}

export interface DoorCount {
  library: number;
  kernel: number;
}

export interface Round {
  path: Path;
  directory: string;
  results: Record<Benchmark, Measurement>;
  /** share of readrandom's keys found, 0 to 1 */
  found: number;
  /** what the service carried by door; null on the host path */
  operations: Record<string, DoorCount> | null;
}

interface StatsShape {
  instances: {
    mountpoint: string;
    doors: Record<'library' | 'kernel', { operations: Record<string, { count: number }> }>;
  }[];
}

/** Operations of one mount by name, both doors. */
export async function doorCounts(engine: Engine, pool: string, mountpoint: string): Promise<Record<string, DoorCount>> {
  const stats = (await engine.stats(pool)) as unknown as StatsShape;
  const instance = stats.instances.find((one) => one.mountpoint === mountpoint);
  const counts: Record<string, DoorCount> = {};
  for (const door of ['library', 'kernel'] as const)
    for (const [name, operation] of Object.entries(instance?.doors[door].operations ?? {})) {
      counts[name] ??= { library: 0, kernel: 0 };
      counts[name][door] += operation.count;
    }
  return counts;
}

/** Share of all operations that the library carried, 0 to 1. */
export function carriedShare(counts: Record<string, DoorCount>): number {
  let library = 0;
  let all = 0;
  for (const count of Object.values(counts)) {
    library += count.library;
    all += count.library + count.kernel;
  }
  return all === 0 ? 0 : library / all;
}

/** Runs a command in the pool with its output captured; rejects with what it printed last. */
export async function inPool(
  engine: Engine,
  pool: string,
  command: string[],
  door: 'library' | 'kernel',
): Promise<string> {
  const argv = await engine.enterCommand(pool, command, { door, cwd: '/' });
  const result = await execa(argv[0] as string, argv.slice(1), {
    all: true,
    reject: false,
    stdin: 'ignore',
    timeout: 600_000,
  });
  if (result.exitCode === 0) return result.all ?? '';
  const last = (result.all ?? '').trim().split('\n').slice(-3).join(' / ');
  throw new DicicloError(
    'DEMO_COMMAND_FAILED',
    `${command[0]} (${door}) ended with status ${result.exitCode ?? result.signal}: ${last}`,
  );
}

/** All benchmarks of one path; counters are reset first. */
export async function runRound(
  engine: Engine,
  pool: string,
  path: Path,
  mountpoint: string,
  directory: string,
  sizes: Sizes,
  say: (text: string) => void,
): Promise<Round> {
  const door = path === 'library' ? 'library' : 'kernel';
  await inPool(engine, pool, ['mkdir', '-p', directory], door);
  await engine.resetStats(pool);
  const results = {} as Record<Benchmark, Measurement>;
  let found = 0;
  for (const benchmark of benchmarks) {
    const before = await engine.accounting(pool);
    const output = await inPool(engine, pool, dbBench(benchmark, directory, sizes), door);
    const after = await engine.accounting(pool);
    const result = parseResult(benchmark, output);
    if (!result)
      throw new DicicloError('DEMO_OUTPUT', `db_bench printed no result for ${benchmark}.`, {
        details: { output: output.slice(-2000) },
      });
    if (benchmark === 'readrandom') {
      const share = parseFound(output);
      found = share ? share.found / share.of : 0;
    }
    const cpu = ((after.cpu.seconds - before.cpu.seconds) * 1e6) / result.operations;
    results[benchmark] = { ...result, cpuMicrosecondsPerOperation: Math.round(cpu * 1000) / 1000 };
    say(`${path}: ${benchmark} ${result.microsecondsPerOperation} us/op, ${result.operationsPerSecond} op/s`);
  }
  const operations = path === 'host ext4' ? null : await doorCounts(engine, pool, mountpoint);
  return { path, directory, results, found, operations };
}
