/** The demo's result as text. */
import type { Accounting, ServerSummary } from '../engine/types.js';
import { benchmarks } from './benchmark.js';
import type { Round } from './rounds.js';
import type { Verification } from './verify.js';

export interface DemoReport {
  database: { bytes: number; cacheBytes: number };
  rounds: Round[];
  /** share of file operations below the mount that the library carried in its round */
  carried: number;
  verification: Verification[];
  servers: ServerSummary[];
  serverKept: { keysWritten: number; keysAfterRestart: number };
  accounting: Accounting;
  seconds: number;
}

function columns(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

function benchmarkTable(rounds: Round[]): string[] {
  const host = rounds.find((round) => round.path === 'host ext4');
  const rows = [['benchmark', 'path', 'us/op', 'op/s', 'CPU us/op', 'time : host', 'time : library']];
  for (const benchmark of benchmarks)
    for (const round of rounds) {
      const result = round.results[benchmark];
      const ratio = (other: Round | undefined) =>
        other ? (result.microsecondsPerOperation / other.results[benchmark].microsecondsPerOperation).toFixed(2) : '-';
      rows.push([
        benchmark,
        round.path,
        result.microsecondsPerOperation.toFixed(2),
        String(result.operationsPerSecond),
        result.cpuMicrosecondsPerOperation.toFixed(2),
        ratio(host),
        ratio(rounds.find((one) => one.path === 'library')),
      ]);
    }
  return columns(rows);
}

function doorTable(round: Round): string[] {
  const rows = [['operation', 'library', 'kernel door']];
  for (const [name, count] of Object.entries(round.operations ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)))
    rows.push([name, String(count.library), String(count.kernel)]);
  return columns(rows);
}

const mebibytes = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MiB`;

export function reportText(report: DemoReport): string {
  const library = report.rounds.find((round) => round.path === 'library') as Round;
  const use = report.accounting;
  return [
    `db_bench, unmodified; database ${mebibytes(report.database.bytes)}, service cache ${mebibytes(report.database.cacheBytes)}`,
    '',
    ...benchmarkTable(report.rounds),
    '',
    `File operations below the mount in the library round, as the service counted them (${(report.carried * 100).toFixed(2)}% carried by the library):`,
    ...doorTable(library).map((line) => `  ${line}`),
    '',
    ...report.verification.map(
      (one) =>
        `written through ${one.writtenThrough}, read through ${one.readThrough}: ${one.files} files, ${mebibytes(one.bytes)}, equal (sha256 ${one.sha256.slice(0, 16)})`,
    ),
    `redis-server (append-only file on the filesystem): ${report.serverKept.keysWritten} keys written, ${report.serverKept.keysAfterRestart} after a restart`,
    '',
    `The pool's account: ${use.cpu.seconds.toFixed(2)} CPU s (service ${use.service?.cpuSeconds.toFixed(2) ?? '-'}), memory peak ${mebibytes(use.memory.peakBytes)}` +
      `${use.memory.limitBytes ? ` of ${mebibytes(use.memory.limitBytes)}` : ''}, written ${mebibytes(use.io.writeBytes)}`,
    `Done in ${report.seconds.toFixed(1)} s; everything that the demo made is removed.`,
    '',
  ].join('\n');
}
