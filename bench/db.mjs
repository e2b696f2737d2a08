/**
 * RocksDB's own db_bench, unmodified, on each side in turn: `npm run bench -- db`. Every round makes a database on every side, so that noise hits all; the same options everywhere, and all cores of
 * the pool for all. CPU is the whole pool's during the command: client, service or daemon, and the kernel's on their behalf.
 */
import { Failure, say } from '../scripts/shared.mjs';
import { goal, median, ratio, spread, table } from './report.mjs';
import { mountStack, standSides } from './sides.mjs';
import { poolCpuNs } from './stage.mjs';

const KEYS = 100_000; // of 1,000 bytes: a database of 110 MB
const SMALL = 'library, cache a quarter of the database';
const COMMON = [
  '--compression_type=none',
  '--value_size=1000',
  '--threads=1',
  '--seed=1',
  '--stats_per_interval=0',
  '--write_buffer_size=33554432',
];

/** The name of db_bench's benchmark, and how it is run here. */
const CASES = {
  fillrandom: [`--num=${KEYS}`],
  overwrite: [`--num=${KEYS}`, '--use_existing_db=1'],
  readrandom: [`--num=${KEYS}`, '--use_existing_db=1', '--reads=40000'],
  readwhilewriting: [`--num=${KEYS}`, '--use_existing_db=1', '--reads=40000'],
  // Whose writer is quicker has more of it beside each read: so once more with as much of it for all.
  'readwhilewriting at 20 MB/s': [
    `--num=${KEYS}`,
    '--use_existing_db=1',
    '--reads=40000',
    '--benchmark_write_rate_limit=20000000',
  ],
  fillsync: ['--num=300'],
};

const WANTED = (side) => ['host', 'tmpfs', 'mount', 'll', 'hp'].includes(side.kind);

async function one(pool, shell, name, directory) {
  const db = name === 'fillsync' ? 'sync' : 'db';
  const [benchmark] = name.split(' ');
  const before = poolCpuNs(pool);
  const output = await shell.run(
    ['db_bench', `--benchmarks=${benchmark}`, `--db='${directory}/${db}'`, ...COMMON, ...CASES[name]].join(' '),
  );
  const cpuNs = poolCpuNs(pool) - before;
  const line = new RegExp(
    `^${benchmark}\\s*:\\s*([\\d.]+) micros/op \\d+ ops/sec [\\d.]+ seconds (\\d+) operations`,
    'm',
  ).exec(output);
  if (!line) throw new Failure(`db_bench ${name} in ${directory} printed no result: ${output.slice(-500)}`);
  const found = /\((\d+) of (\d+) found\)/.exec(output);
  if (name === 'readrandom' && !(found && Number(found[1]) > 0))
    throw new Failure(`db_bench found nothing in ${directory}`);
  return { us: Number(line[1]), cpuUs: cpuNs / 1000 / Number(line[2]) };
}

function keep(results, name, side, { us, cpuUs }) {
  results[name] ??= {};
  results[name][side] ??= { us: [], cpuUs: [] };
  results[name][side].us.push(us);
  results[name][side].cpuUs.push(cpuUs);
}

export async function measure({ stage, pool: get, rounds }) {
  const pool = get();
  const sides = await standSides(stage, pool, WANTED);
  const small = mountStack(stage, pool, 'small', 'behind-through');
  const shells = { library: stage.shell(pool.bare, 'library'), kernel: stage.shell(pool.bare, 'kernel') };
  const results = {};
  const times = Math.ceil(rounds / 3);
  for (let round = 0; round < times; round++)
    // Backwards every other time: what one side leaves to the disk is not always paid by the same next one.
    for (const side of round % 2 ? [...sides].reverse() : sides) {
      say(`bench: db_bench, round ${round + 1} of ${times}: ${side.name}`);
      for (const name of Object.keys(CASES)) {
        keep(results, name, side.name, await one(pool, shells[side.door], name, side.directory));
        if (name === 'readrandom' && side.mount === 'through' && side.door === 'library')
          keep(results, name, SMALL, await one(pool, shells.library, name, `${small}/${side.key}`));
      }
      await shells[side.door].run(`rm -rf '${side.directory}/db' '${side.directory}/sync'`);
    }
  for (const shell of Object.values(shells)) await shell.end();
  return results;
}

export function report(results) {
  const cases = Object.keys(results);
  const sides = [...new Set(cases.flatMap((name) => Object.keys(results[name])))];
  const rows = [['us/op +-spread (times ext4) CPU us/op', ...cases]];
  for (const side of sides)
    rows.push([
      side,
      ...cases.map((name) => {
        const figures = results[name][side];
        if (!figures) return '';
        return `${median(figures.us).toFixed(2)} +-${Math.round(spread(figures.us) * 100)}% (${ratio(figures.us, results[name].ext4.us).toFixed(2)}) ${median(figures.cpuUs).toFixed(2)}`;
      }),
    ]);
  return table(`db_bench: ${KEYS} keys of 1,000 bytes; caches of 512 MiB, or 24 MiB`, rows);
}

export function goals(results) {
  const list = [];
  const best = (name, fits) =>
    Object.keys(results[name])
      .filter((side) => /^passthrough/.test(side) && fits.test(side))
      .sort((a, b) => median(results[name][a].us) - median(results[name][b].us))[0];
  for (const name of Object.keys(CASES))
    for (const side of ['library, write-through', 'library, write-back']) {
      const ours = results[name][side].us;
      list.push(goal(`${name}, ${side}, time`, ratio(ours, results[name].ext4.us), { most: 1.1, rival: 'ext4' }));
      for (const [fits, least] of [
        [/writeback/, 1.5],
        [/no kernel cache/, 4],
      ]) {
        const rival = best(name, fits);
        if (rival)
          list.push(goal(`${name}, ${side}, times faster`, ratio(results[name][rival].us, ours), { least, rival }));
      }
    }
  return list;
}
