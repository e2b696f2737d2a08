/**
 * The queues across processes: ours (relaxed queue and mailboxes) beside published ones, and how requests are waited for. Built from the shipped sources (native/ipc) and bench/queue.
 * Usage: npm run bench -- queue [--json] [--quick] [--ms N]     N: milliseconds of each figure (200; 50 among the other parts, where it is quick)
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { checkout, Failure, say } from '../scripts/shared.mjs';
import { table, unique } from './report.mjs';

const SOURCES = ['main', 'rivals', 'transfer', 'requests'].map((name) => `bench/queue/${name}.c`);
const SHIPPED = ['client', 'mailbox', 'queue', 'receiver', 'waiting'].map((name) => `native/ipc/${name}.c`);

function build(work) {
  const program = path.join(work, 'queue-bench');
  const options = [
    '-O2',
    '-std=gnu17',
    '-D_GNU_SOURCE',
    '-Inative/ipc',
    '-Inative/include',
    '-Ibench/queue',
    '-pthread',
    '-o',
    program,
  ];
  execFileSync('gcc', [...options, ...SOURCES, ...SHIPPED], { cwd: checkout, stdio: 'inherit' });
  return program;
}

async function runProgram(program, what, ms) {
  const child = spawn(program, [what, String(ms)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const figures = [];
  for await (const line of createInterface({ input: child.stdout })) figures.push(JSON.parse(line));
  const status = await ended;
  if (status !== 0) throw new Error(`queue-bench ${what} ended with status ${status}`);
  const broken = figures.filter((figure) => figure.whole === false).map(({ queue, clients }) => `${queue}/${clients}`);
  if (broken.length > 0) throw new Error(`items were lost or doubled: ${broken.join(', ')}`);
  return figures;
}

const short = (ns) =>
  ns < 10_000 ? `${ns}` : ns < 10_000_000 ? `${Math.round(ns / 1000)}us` : `${Math.round(ns / 1e6)}ms`;

function transferTables(figures) {
  const clients = unique(figures.map((figure) => figure.clients));
  const cells = {
    'million items per second': (figure) => (figure.itemsPerSecond / 1e6).toFixed(2),
    'enqueue, p50 / p99 ns': (figure) => `${short(figure.enqueueP50)}/${short(figure.enqueueP99)}`,
    'dequeue, p50 / p99 ns': (figure) => `${short(figure.dequeueP50)}/${short(figure.dequeueP99)}`,
  };
  return unique(figures.map((figure) => figure.takers)).flatMap((takers) =>
    Object.entries(cells).map(([title, cell]) => {
      const of = (queue, count) =>
        figures.find((figure) => figure.queue === queue && figure.clients === count && figure.takers === takers);
      const rows = unique(figures.map((figure) => figure.queue)).map((queue) => [
        queue,
        ...clients.map((count) => cell(of(queue, count))),
      ]);
      const head = [`${takers} taker${takers > 1 ? 's' : ''}, clients:`, ...clients.map(String)];
      return table(title, [head, ...rows]);
    }),
  );
}

function requestTables(figures) {
  const thinks = unique(figures.map((figure) => figure.thinkUs));
  const cell = (figure) =>
    figure ? `${short(figure.p50)}/${short(figure.p99)}/${short(Math.round(figure.cpuNs))}` : '';
  const one = figures.filter((figure) => figure.clients === 1);
  const name = (figure) => `${figure.transport}, ${figure.placement}, ${figure.waiting}`;
  const rows = unique(one.map(name)).map((row) => [
    row,
    ...thinks.map((us) => cell(one.find((figure) => name(figure) === row && figure.thinkUs === us))),
  ]);
  const many = figures.filter((figure) => figure.clients > 1);
  const counts = unique(many.map((figure) => figure.clients));
  const manyRows = unique(many.map((figure) => figure.transport)).map((transport) => [
    transport,
    ...counts.map((count) => cell(many.find((figure) => figure.transport === transport && figure.clients === count))),
  ]);
  return [
    table('one request, p50 / p99 / CPU of both sides, ns, by time between two requests', [
      ['1 client, thinks us:', ...thinks.map(String)],
      ...rows,
    ]),
    table('the same, unpinned, adaptive, without a pause', [['clients:', ...counts.map(String)], ...manyRows]),
  ];
}

/** Each queue for `ms` milliseconds per number of clients; `quick`: the way of waiting that is shipped, alone. */
export async function figuresOf({ ms, quick }) {
  if (!(ms >= 10 && ms <= 60_000)) throw new Failure('--ms must be 10 to 60000');
  const work = mkdtempSync(path.join(os.tmpdir(), 'diciclo-bench-'));
  try {
    const program = build(work);
    const figures = [];
    for (const what of ['transfer', ...(quick ? ['quick'] : ['waiting', 'idle'])]) {
      say(`bench: queue: ${what}`);
      figures.push(...(await runProgram(program, what, ms)));
    }
    return figures;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export function report(figures) {
  const of = (kind) => figures.filter((figure) => figure.kind === kind);
  const idle = of('idle').map(
    ({ transport, clients, workersCpuShare, workerSleeps }) =>
      `${transport}: ${clients} clients that say nothing cost the workers ${(workersCpuShare * 100).toFixed(3)} % of a CPU (${workerSleeps} sleeps)\n`,
  );
  return `${[...transferTables(of('transfer')), ...requestTables(of('request'))].join('\n')}\n${idle.join('')}`;
}

export function measure({ options, alone }) {
  return figuresOf({ ms: options.ms ?? (alone ? 200 : 50), quick: options.quick || !alone });
}

export const goals = () => [];
