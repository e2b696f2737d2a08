#!/usr/bin/env node
/**
 * The figures, in one run, side by side. Usage: npm run bench [-- PART ...] [-- --json] [--rounds N] [--idle-seconds N]
 *   calls     what a call costs through the library, the kernel door, FUSE's examples in each mode, overlayfs and on ext4
 *   db        RocksDB's db_bench on the same sides
 *   waiting   a null request against a bare cache line; one core for all; more threads than cores; thinking clients
 *   queue     the queues across processes against published ones (--quick, --ms N: see queue.mjs)
 *   start     attach, preload, command line, a pool until its first I/O
 *   idle      memory and CPU of a pool that does nothing
 * `npm run bench -- dispatch [--json]` measures system call dispatch (dispatch.mjs) instead.
 * Without a part: all, in about eight minutes. The report goes to stdout (with --json as one object), progress to stderr. Exit status 0 also when a goal is not met: the report says so.
 */
import { setup } from '../scripts/setup.mjs';
import { Exit, Failure, fail, say, seconds } from '../scripts/shared.mjs';
import { goalsTable, machine } from './report.mjs';
import { NOTES, versions } from './sides.mjs';
import { Stage } from './stage.mjs';

// The first two make pools of their own, before there is one that reserves every core.
const PARTS = ['idle', 'start', 'calls', 'waiting', 'queue', 'db'];

function parse(argv) {
  const options = { json: false, quick: false, rounds: 9, idleSeconds: 60 };
  const numbers = { '--rounds': 'rounds', '--idle-seconds': 'idleSeconds', '--ms': 'ms' };
  const parts = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i];
    if (word === '--json' || word === '--quick') options[word.slice(2)] = true;
    else if (numbers[word] && Number(argv[i + 1]) > 0) options[numbers[word]] = Number(argv[++i]);
    else if (PARTS.includes(word)) parts.push(word);
    else
      throw new Failure(
        `${word} is not understood`,
        `npm run bench -- [${PARTS.join('|')} ...] [--json] [--rounds N] [--idle-seconds N]`,
        Exit.usage,
      );
  }
  return { options, parts: parts.length > 0 ? PARTS.filter((part) => parts.includes(part)) : PARTS };
}

async function main() {
  const { options, parts } = parse(process.argv.slice(2));
  await setup(['demo', 'bench']);
  const started = Date.now();
  const stage = new Stage();
  const result = { machine: machine(versions()), notes: NOTES, parts: {}, goals: [] };
  const texts = [];
  let made;
  // The pool of all sides; made by the first part that wants it.
  const pool = () => {
    made ??= stage.pool('bench');
    return made;
  };
  try {
    stage.tune();
    for (const part of parts) {
      const module = await import(`./${part}.mjs`);
      const since = Date.now();
      const figures = await module.measure({ stage, pool, rounds: options.rounds, options, alone: parts.length === 1 });
      say(`bench: ${part}: ${seconds(since)}`);
      result.parts[part] = figures;
      result.goals.push(...module.goals(figures));
      texts.push(module.report(figures));
    }
    result.missing = stage.missing ?? {};
  } finally {
    await stage.close();
  }
  result.seconds = Math.round((Date.now() - started) / 1000);
  process.stdout.write(options.json ? `${JSON.stringify(result, null, 1)}\n` : print(result, texts));
}

function print({ machine: about, notes, goals, missing, seconds: took }, texts) {
  const lines = Object.entries(missing).map(([name, why]) => `not measured: ${name}: ${why}`);
  const head = Object.entries(about)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
  return `${head}\n\n${texts.join('\n')}\n${goalsTable(goals)}\n${[...notes, ...lines].join('\n')}\n${took} s\n`;
}

(process.argv[2] === 'dispatch' ? import('./dispatch.mjs').then((bench) => bench.main()) : main()).catch(fail);
