/**
 * What one call costs on each side: `npm run bench -- calls`. One program per side lives through all rounds; in each round all sides are measured in turn, each for a few tens of milliseconds.
 */
import { say } from '../scripts/shared.mjs';
import { goal, median, nanoseconds, ratio, spread, table } from './report.mjs';
import { standSides } from './sides.mjs';
import { compile } from './stage.mjs';

const CASES = ['pread4k', 'pwrite4k', 'stat', 'openClose', 'createUnlink', 'read1m', 'write1m'];
const ROUND_MS = 30;
const HANDED = 'filled on one core, written to ext4 by another';

export async function measure({ stage, pool, rounds }) {
  const sides = await standSides(stage, pool());
  const io = compile('io-bench');
  for (const side of sides)
    side.agent = await stage.agent(pool().bare, side.door, [io, side.directory, String(side.server)]);
  const results = {};
  for (const name of CASES) {
    say(`bench: calls: ${name}`);
    for (let round = 0; round <= rounds; round++)
      for (const side of sides) {
        const answer = await side.agent.ask(`${name} ${ROUND_MS}`);
        // The first round finds out how many calls fit.
        if (round > 0) add(results, name, side.name, answer);
      }
  }
  const host = sides.find((side) => side.name === 'ext4');
  for (let round = 0; stage.cpus > 1 && round < rounds; round++)
    for (const [name, words] of Object.entries({ write1m: 'ext4 beside it', handed: HANDED }))
      add(results, 'handed', words, await host.agent.ask(`${name} ${ROUND_MS}`));
  for (const side of sides) await side.agent.end();
  return results;
}

export function add(results, name, side, { ns, p50, cpuNs, serverCpuNs }) {
  results[name] ??= {};
  results[name][side] ??= { ns: [], p50: [], cpuNs: [] };
  results[name][side].ns.push(ns);
  results[name][side].p50.push(p50);
  results[name][side].cpuNs.push(cpuNs + serverCpuNs);
}

export function report(results) {
  const sides = Object.keys(results[CASES[0]]);
  const rows = [['call, times ext4, CPU', ...CASES]];
  for (const side of sides)
    rows.push([
      side,
      ...CASES.map((name) => {
        const { ns, cpuNs } = results[name][side];
        return `${nanoseconds(median(ns))} +-${Math.round(spread(ns) * 100)}% (${ratio(ns, results[name].ext4.ns).toFixed(2)}) ${nanoseconds(median(cpuNs))}`;
      }),
    ]);
  const tables = [table('calls: median of rounds, spread, (times ext4), CPU of client and server', rows)];
  if (results.handed) {
    const { 'ext4 beside it': ext4, [HANDED]: handed } = results.handed;
    const row = [HANDED, nanoseconds(median(handed.ns)), `${ratio(handed.ns, ext4.ns).toFixed(2)} x`];
    tables.push(table('calls: the limit of writes that a service makes', [['1 MiB', 'time', 'of ext4'], row]));
  }
  return tables.join('\n');
}

/** The best of those that must ask: its time is the least. */
function quickest(sides, fits) {
  const names = Object.keys(sides).filter(fits);
  return names.sort((a, b) => median(sides[a].ns) - median(sides[b].ns))[0];
}

export function goals(results) {
  const list = [];
  const library = { pwrite4k: 'library, write-back', write1m: 'library, write-back' };
  const bounds = { pread4k: 0.15, pwrite4k: 1, stat: 2, openClose: 2, createUnlink: 3 };
  const faster = { pread4k: 30, pwrite4k: 30, stat: 20, openClose: 20, createUnlink: 20 };
  for (const [name, most] of Object.entries(bounds)) {
    for (const side of library[name] ? [library[name], 'library, write-through'] : ['library, write-through']) {
      const ours = results[name][side].ns;
      list.push(goal(`${name}, ${side}, time`, ratio(ours, results[name].ext4.ns), { most, rival: 'ext4' }));
      const asks = quickest(results[name], (one) => /^passthrough.*no kernel cache/.test(one));
      list.push(
        goal(`${name}, ${side}, times faster`, ratio(results[name][asks].ns, ours), {
          least: faster[name],
          rival: asks,
        }),
      );
    }
  }
  for (const name of ['read1m', 'write1m']) {
    const side = library[name] ?? 'library, write-through';
    list.push(
      goal(`${name}, ${side}, bandwidth`, ratio(results[name].ext4.ns, results[name][side].ns), {
        least: 0.9,
        rival: 'ext4',
      }),
    );
  }
  return list;
}
