#!/usr/bin/env node
/**
 * Fuzzes the service's and pool-init's inputs: builds native/fuzz with clang (libFuzzer, address and undefined sanitizers) in build-fuzz and runs the targets, one after the other, from the
 * committed corpora. What is new goes to build-fuzz/corpus/TARGET, an input that fails to build-fuzz/failed/TARGET-*.
 * Usage: npm run fuzz -- [TARGET ...] [--seconds N] [--merge]   N: per target, 60 by default. --merge adds what was found to the committed corpora, minimized, and fuzzes nothing.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, setup } from './setup.mjs';
import { checkout, Exit, Failure, fail, run, say } from './shared.mjs';

const BUILD = 'build-fuzz';
const OPTIONS = [
  '--buildtype=debugoptimized',
  '-Db_sanitize=address,undefined',
  '-Db_lundef=false',
  '-Dfuzz=true',
  '-Dwerror=false', // the sources are gcc's: clang warns of more
  '-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined', // a finding of either ends the run
];
export const TARGETS = ['requests', 'control', 'attach', 'line', 'answer'];
/** libFuzzer's own: an input that takes longer hangs the service for longer than anybody waits. */
const LIMITS = ['-timeout=20', '-rss_limit_mb=4096', '-max_len=4096', '-verbosity=0', '-print_final_stats=1'];

export async function buildFuzz(how = {}) {
  const modules = ['local', 'cache', 'passthrough'].map((name) => `libservices/${name}.so`);
  const targets = TARGETS.map((target) => `fuzz/fuzz-${target}`);
  await buildNative(BUILD, OPTIONS, { ...process.env, CC: 'clang' }, [...targets, ...modules], how);
}

function folders(target) {
  const grown = path.join(checkout, BUILD, 'corpus', target);
  const failed = path.join(checkout, BUILD, 'failed');
  mkdirSync(grown, { recursive: true });
  mkdirSync(failed, { recursive: true });
  return {
    grown,
    committed: path.join(checkout, 'native/fuzz/corpus', target),
    failed: path.join(failed, `${target}-`),
  };
}

function start(target, argv) {
  const env = {
    ...process.env,
    DICICLO_MODULES: path.join(checkout, BUILD, 'libservices'),
    ASAN_OPTIONS: 'detect_leaks=1:allocator_may_return_null=1',
  };
  return run([path.join(checkout, BUILD, 'fuzz', `fuzz-${target}`), ...argv], { env });
}

/** Exit status of one target after so many seconds; 0: nothing failed. */
export function fuzz(target, secondsEach) {
  const { grown, committed, failed } = folders(target);
  say(`fuzz: ${target}, ${secondsEach} s`);
  return start(target, [grown, committed, `-max_total_time=${secondsEach}`, `-artifact_prefix=${failed}`, ...LIMITS]);
}

function merge(target) {
  const { grown, committed } = folders(target);
  mkdirSync(committed, { recursive: true });
  return start(target, ['-merge=1', committed, grown, ...LIMITS]);
}

function parse(argv) {
  const options = { targets: [], seconds: 60, merge: false };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--merge') options.merge = true;
    else if (argv[i] === '--seconds') options.seconds = Number(argv[++i]);
    else options.targets.push(argv[i]);
  }
  const unknown = options.targets.filter((target) => !TARGETS.includes(target));
  if (unknown.length > 0 || !(options.seconds > 0))
    throw new Failure(
      unknown.length > 0 ? `there is no target ${unknown.join(' ')}` : '--seconds wants a number',
      `npm run fuzz -- [${TARGETS.join('|')}] [--seconds N] [--merge]`,
      Exit.usage,
    );
  return options;
}

async function main(argv) {
  const options = parse(argv);
  await setup(['test']);
  await buildFuzz();
  const bad = [];
  for (const target of options.targets.length > 0 ? options.targets : TARGETS)
    if ((await (options.merge ? merge(target) : fuzz(target, options.seconds))) !== 0) bad.push(target);
  if (bad.length > 0)
    throw new Failure(`an input made ${bad.join(', ')} fail (see above)`, `the input is ${BUILD}/failed/TARGET-*`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2)).catch(fail);
