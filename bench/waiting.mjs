/**
 * Waiting, with the pool's real service: `npm run bench -- waiting`. A request that asks for nothing against a bare cache line; one core for client and service; more threads than cores; thinking
 * between calls. The call is a write of 4 KiB that goes through to ext4: ours and FUSE's daemon both have to be asked for it, and both then do the same. Beside it the least that it can cost on one
 * core: the core handed to another process and back by a yield of each, and ext4's own write. Then calls for which ours need not be asked: the same write by write-back (the service makes it later, on
 * the same core), and a cached read.
 */
import { say } from '../scripts/shared.mjs';
import { add } from './calls.mjs';
import { goal, median, nanoseconds, ratio, table } from './report.mjs';
import { standSides } from './sides.mjs';
import { compile, pinProcess } from './stage.mjs';

const OURS = 'library, write-through';
const BACK = 'library, write-back';
const EXT4 = 'ext4';
const FUSE = ['passthrough_ll, no kernel cache', 'passthrough_hp, no kernel cache'];
const HANDS = {
  yield: 'a yield each',
  futex: 'a futex wake and wait each',
  pipe: 'a pipe',
};
const THINKS = [0, 1, 10, 100, 1000];
const MANY = 8;
const MS = 40;

async function nullRequests(stage, pool, rounds) {
  const agent = await stage.agent(pool.bare, 'kernel', [
    compile('request-bench'),
    pool.directory,
    String(pool.servicePid),
  ]);
  const last = stage.cpus - 1;
  const figures = { ping: [], apart: [], together: [], unpinned: [], think: {}, hands: {} };
  const all = `0-${last}`;
  for (let round = 0; round < rounds; round++) {
    pinProcess(pool.service.pid, String(last));
    if (last > 0) {
      figures.ping.push(await agent.ask(`ping ${MS} 0 ${last}`));
      figures.apart.push(await agent.ask(`null ${MS} 0`));
    }
    for (const how of Object.keys(HANDS))
      for (const us of [0, 1000]) {
        figures.hands[`${how} ${us}`] ??= [];
        figures.hands[`${how} ${us}`].push(await agent.ask(`hand ${MS} ${last} ${how} ${us}`));
      }
    figures.together.push(await agent.ask(`null ${MS} ${last}`));
    pinProcess(pool.service.pid, all);
    figures.unpinned.push(await agent.ask(`null ${MS} -1`));
    for (const us of THINKS.slice(1)) {
      figures.think[us] ??= [];
      figures.think[us].push(await agent.ask(`null ${MS} -1 ${us}`));
    }
  }
  await agent.end();
  return figures;
}

const nameOf = (call, place, threads, think) =>
  `${call === 'pread4k' ? 'read' : 'write'}, ${place}, ${threads} thread${threads > 1 ? 's' : ''}, think ${think} us`;

/** Each side's client and server where `list` says, all sides in turn. */
async function placedCalls(stage, pool, sides, rounds) {
  const results = {};
  const calls = [
    ...THINKS.flatMap((think) => [1, MANY].map((threads) => ({ call: 'pwrite4k', threads, think }))),
    ...[1, MANY].map((threads) => ({ call: 'pread4k', threads, think: 0 })),
  ];
  const placed = async (side, cpu) => {
    await side.agent.ask(`pin ${cpu}`);
    const list = cpu < 0 ? `0-${stage.cpus - 1}` : String(cpu);
    if (side.kind === 'mount') pinProcess(pool.service.pid, list);
    else if (side.server) stage.run(pool.bare, 'kernel', ['taskset', '-acp', list, String(side.server)]);
  };
  for (const [place, cpu] of [
    ['one core', 0],
    ['unpinned', -1],
  ]) {
    say(`bench: waiting: ${place}`);
    for (const side of sides) await placed(side, cpu);
    for (let round = 0; round < rounds; round++)
      for (const { call, threads, think } of calls)
        for (const side of sides)
          add(
            results,
            nameOf(call, place, threads, think),
            side.name,
            await side.agent.ask(`${call} ${MS} ${threads} ${think}`),
          );
  }
  return results;
}

export async function measure({ stage, pool: get, rounds }) {
  const pool = get();
  say('bench: waiting: null requests');
  const nulls = await nullRequests(stage, pool, Math.max(5, rounds));
  const sides = await standSides(
    stage,
    pool,
    ({ name }) => name === OURS || name === BACK || name === EXT4 || FUSE.includes(name),
  );
  const io = compile('io-bench');
  for (const side of sides) {
    side.agent = await stage.agent(pool.bare, side.door, [io, side.directory, String(side.server)]);
    for (const call of ['pwrite4k', 'pread4k']) await side.agent.ask(`${call} ${MS}`);
  }
  const calls = await placedCalls(stage, pool, sides, Math.max(3, Math.ceil(rounds / 2)));
  for (const side of sides) await side.agent.end();
  return { nulls, calls };
}

const pick = (figures, key = 'ns') => figures.map((one) => one[key]);
const cpu = (figures) => median(figures.map((one) => one.cpuNs + one.serverCpuNs));

export function report({ nulls, calls }) {
  const rows = [['', 'time', 'CPU']];
  for (const [key, list] of Object.entries(nulls.hands)) {
    const [how, us] = key.split(' ');
    const think = us === '0' ? '' : `, think ${us} us`;
    rows.push([`one core handed over and back by ${HANDS[how]}${think}`, nanoseconds(median(pick(list))), '']);
  }
  if (nulls.ping.length) rows.push(['bare cache line, there and back', nanoseconds(median(pick(nulls.ping))), '']);
  for (const [name, figures] of [
    ['null request, own cores', nulls.apart],
    ['null request, one core', nulls.together],
    ['null request, unpinned', nulls.unpinned],
    ...Object.entries(nulls.think).map(([us, list]) => [`null request, unpinned, think ${us} us`, list]),
  ])
    if (figures.length) rows.push([name, nanoseconds(median(pick(figures))), nanoseconds(cpu(figures))]);
  const sides = Object.keys(Object.values(calls)[0]);
  const second = [['4 KiB: mean (median) CPU', ...sides]];
  const third = [
    ['least on one core: handed over and back by a yield each, and written to ext4', 'least', 'of FUSE', 'ours'],
  ];
  for (const think of THINKS.filter((us) => us < 100)) {
    const by = calls[nameOf('pwrite4k', 'one core', 1, think)];
    const least = median(pick(nulls.hands['yield 0'])) + median(by[EXT4].ns);
    const fuse = Math.min(...FUSE.filter((side) => by[side]).map((side) => median(by[side].ns)));
    third.push([
      `1 thread, think ${think} us`,
      nanoseconds(least),
      `${(least / fuse).toFixed(2)} x`,
      `${(median(by[OURS].ns) / fuse).toFixed(2)} x`,
    ]);
  }
  for (const [name, by] of Object.entries(calls))
    second.push([
      name,
      ...sides.map(
        (side) =>
          `${nanoseconds(median(by[side].ns))} (${nanoseconds(median(by[side].p50))}) ${nanoseconds(median(by[side].cpuNs))}`,
      ),
    ]);
  return [table('waiting: requests', rows), table('waiting: calls', second), table('waiting: the limit', third)].join(
    '\n',
  );
}

export function goals({ nulls, calls }) {
  const list = [];
  if (nulls.ping.length)
    list.push(
      goal('null request, own cores', ratio(pick(nulls.apart), pick(nulls.ping)), {
        most: 4,
        rival: 'cache-line ping-pong',
      }),
    );
  for (const [name, by] of Object.entries(calls)) {
    if (!name.includes('one core') && !name.includes(`unpinned, ${MANY}`)) continue;
    const rivals = FUSE.filter((side) => by[side]);
    const best = rivals.sort((a, b) => median(by[a].ns) - median(by[b].ns))[0];
    for (const side of name.startsWith('write') ? [OURS, BACK] : [OURS])
      list.push(goal(`${name}, ${side}`, ratio(by[side].ns, by[best].ns), { most: 0.6, rival: best }));
  }
  return list;
}
