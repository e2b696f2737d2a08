/** RocksDB's db_bench (Debian's rocksdb-tools), unmodified: command lines and what it prints. */

/** Sizes of one run. The database is several times the service's cache, so that reads miss it. */
export interface Sizes {
  /** keys of fillrandom */
  keys: number;
  /** bytes of a value */
  valueBytes: number;
  /** operations of readrandom */
  reads: number;
  /** operations of fillsync */
  syncs: number;
}

export const fullSizes: Sizes = { keys: 400_000, valueBytes: 1000, reads: 60_000, syncs: 2_000 };

export type Benchmark = 'fillrandom' | 'readrandom' | 'fillsync';
export const benchmarks: readonly Benchmark[] = ['fillrandom', 'readrandom', 'fillsync'];

/** The db_bench command of one benchmark on the database below `directory`. */
export function dbBench(benchmark: Benchmark, directory: string, sizes: Sizes): string[] {
  const common = [
    '--compression_type=none',
    `--value_size=${sizes.valueBytes}`,
    '--threads=1',
    '--seed=1',
    '--stats_per_interval=0',
  ];
  switch (benchmark) {
    case 'fillrandom':
      return ['db_bench', '--benchmarks=fillrandom', `--db=${directory}/db`, `--num=${sizes.keys}`, ...common];
    case 'readrandom':
      return [
        'db_bench',
        '--benchmarks=readrandom',
        `--db=${directory}/db`,
        '--use_existing_db=1',
        `--num=${sizes.keys}`,
        `--reads=${sizes.reads}`,
        ...common,
      ];
    case 'fillsync':
      return ['db_bench', '--benchmarks=fillsync', `--db=${directory}/sync`, `--num=${sizes.syncs}`, ...common];
  }
}

/** Every block of every table read and compared with its checksum. */
export function verifyChecksum(directory: string, sizes: Sizes): string[] {
  return [
    'db_bench',
    '--benchmarks=verifychecksum',
    `--db=${directory}/db`,
    '--use_existing_db=1',
    `--num=${sizes.keys}`,
  ];
}

export interface BenchmarkResult {
  microsecondsPerOperation: number;
  operationsPerSecond: number;
  operations: number;
}

/** `fillrandom   :  5.364 micros/op 186425 ops/sec 0.536 seconds 100000 operations;  20.6 MB/s`; null when the line is not there. */
export function parseResult(benchmark: Benchmark, output: string): BenchmarkResult | null {
  const line = new RegExp(
    `^${benchmark}\\s*:\\s*([\\d.]+) micros/op (\\d+) ops/sec ([\\d.]+) seconds (\\d+) operations`,
    'm',
  ).exec(output);
  if (!line) return null;
  return {
    microsecondsPerOperation: Number(line[1]),
    operationsPerSecond: Number(line[2]),
    operations: Number(line[4]),
  };
}

/** How many of readrandom's keys were there: `(37812 of 60000 found)`. */
export function parseFound(output: string): { found: number; of: number } | null {
  const match = /\((\d+) of (\d+) found\)/.exec(output);
  return match ? { found: Number(match[1]), of: Number(match[2]) } : null;
}
