#!/usr/bin/env node
/**
 * The project's whole test: sets the machine up, checks types and style, runs the TypeScript tests, the native tests (plain and sanitized), the engine's tests once
 * more on cgroup v2 in a guest, and looks for what they left behind. The last line is `N passed, N failed` (and `, N skipped` when any).
 * Usage: node scripts/test.mjs [PART ...]   parts: check ts native asan tsan fuzz guest, or a folder or file below test/ (engine, spec ...). Default: all.
 */
import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildFuzz, fuzz, TARGETS } from './fuzz.mjs';
import { runInGuest } from './guest.mjs';
import { findLeftovers, MARK } from './leftovers.mjs';
import { buildNative, setup } from './setup.mjs';
import { checkout, done, Exit, Failure, fail, leaveNothing, run, say, scratch, seconds } from './shared.mjs';

const PARTS = ['check', 'ts', 'native', 'asan', 'tsan', 'fuzz', 'guest'];
const VITEST = 'node_modules/vitest/vitest.mjs';
/** What runs on cgroup v2 in the guest: the same files as on the host. */
const GUEST_TESTS = ['resources', 'pools', 'native'].map((name) => `test/engine/${name}.test.ts`);
const GUEST_TIMEOUT_SECONDS = 900;
const FUZZ_SECONDS = 10;
/** Real programs that a service under the address sanitizer serves once more. */
const ADDRESS_TESTS = ['faults', 'leases', 'programs', 'writeback'].map((name) => `test/e2e/${name}.test.ts`);
/** As users run them: their first calls are the kernel door's, and what they opened by those goes on. */
const FIRST_CALLS_TESTS = ['e2e/programs', 'programs/tools', 'programs/databases'].map(
  (name) => `test/${name}.test.ts`,
);
/** What threads of a service do to each other, not what programs do: few, since they run many times slower. */
const THREAD_TESTS = ['leases', 'trust', 'writeback'].map((name) => `test/e2e/${name}.test.ts`);

const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];

function count(part, { passed = 0, failed = 0, skipped = 0, names = [] }) {
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skipped;
  failures.push(...names.map((name) => `${part}: ${name}`));
  say(`test: ${part}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`);
}

/** A part that is one test: an exit status. */
function countStatus(part, status) {
  count(part, status === 0 ? { passed: 1 } : { failed: 1, names: [`exit status ${status}`] });
}

async function check() {
  countStatus('types', await run(['node', 'node_modules/typescript/bin/tsc', '--noEmit']));
  countStatus('style', await run(['node', 'node_modules/@biomejs/biome/bin/biome', 'check', '.']));
}

async function vitest(part, filters, env = {}) {
  const work = scratch('diciclo-test-');
  const file = path.join(work, 'vitest.json');
  const argv = [
    'node',
    VITEST,
    'run',
    ...filters,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
  ];
  const status = await run(argv, { env: { ...process.env, ...env } });
  count(part, readVitest(file, status));
  done(work);
}

/** Counts of a report of vitest's JSON reporter; a file that could not even be loaded counts as one failure. */
export function readVitest(file, status) {
  if (!existsSync(file)) return { failed: 1, names: [`no report (exit status ${status})`] };
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const names = [];
  for (const suite of report.testResults) {
    const bad = suite.assertionResults.filter((test) => test.status === 'failed');
    names.push(...bad.map((test) => `${path.relative(checkout, suite.name)}: ${test.fullName}`));
    if (suite.status === 'failed' && bad.length === 0)
      names.push(`${path.relative(checkout, suite.name)}: ${(suite.message ?? 'not loaded').split('\n')[0]}`);
  }
  if (status !== 0 && names.length === 0) names.push(`vitest ended with status ${status} although no test failed`);
  const { numPassedTests, numPendingTests, numTodoTests = 0 } = report;
  return { passed: numPassedTests, failed: names.length, skipped: numPendingTests + numTodoTests, names };
}

/** Those that may run side by side mostly wait: one more at a time than there are processors. */
const MESON_PROCESSES = os.availableParallelism() + 1;

/** The native tests of one build directory, by meson's own log: one JSON object per line. */
async function native(part, directory, options, env = process.env) {
  try {
    await buildNative(directory, options, env);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    count(part, { failed: 1, names: [error.message] });
    return;
  }
  const log = path.join(checkout, directory, 'meson-logs/testlog.json');
  rmSync(log, { force: true });
  const processes = ['--num-processes', `${MESON_PROCESSES}`];
  const status = await run(['meson', 'test', '-C', directory, '--no-rebuild', '--print-errorlogs', ...processes], {
    env,
  });
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').filter(Boolean) : [];
  const results = lines.map((line) => JSON.parse(line));
  const of = (...kinds) => results.filter((test) => kinds.includes(test.result));
  const bad = results.filter((test) => !['OK', 'EXPECTEDFAIL', 'SKIP'].includes(test.result));
  const names = bad.map((test) => `${test.name}: ${test.result}`);
  if (status !== 0 && bad.length === 0) names.push(`meson test ended with status ${status}`);
  count(part, { passed: of('OK', 'EXPECTEDFAIL').length, failed: names.length, skipped: of('SKIP').length, names });
}

const sanitized = (sanitizers) => ['--buildtype=debugoptimized', `-Db_sanitize=${sanitizers}`, '-Db_lundef=false'];
const ASAN = ['build-asan', sanitized('address,undefined')];
const TSAN = ['build-tsan', [...sanitized('thread'), '-Dc_args=-Wno-tsan']];

/** Builds for later parts beside tests that often wait, by what processor time those leave. What does not build is said when its part comes. */
async function buildAhead(wants) {
  try {
    for (const [part, [directory, options]] of [
      ['asan', ASAN],
      ['tsan', TSAN],
    ])
      if (wants(part)) await buildNative(directory, options, process.env, [], { idle: true });
    if (wants('fuzz')) await buildFuzz({ idle: true });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
  }
}

/**
 * Real programs once more against the sanitized service. The library stays plain: a sanitizer's runtime must come first in a process, and the programs are
 * other people's. A report in the service's log fails the test that caused it (test/e2e/harness.ts).
 */
async function sanitizedService(part, build, tests) {
  const mixed = scratch('diciclo-test-');
  for (const [name, from] of Object.entries({
    service: build,
    libservices: build,
    init: 'build',
    library: 'build',
  }))
    symlinkSync(path.join(checkout, from, name), path.join(mixed, name));
  await vitest(part, tests, { DICICLO_BUILD_DIR: mixed });
  done(mixed);
}

/** Every fuzz target for some seconds, from the committed corpora, one on each processor; `npm run fuzz` goes on for longer. */
async function fuzzAll() {
  await buildFuzz();
  const left = [...TARGETS];
  const runOneByOne = async () => {
    for (let target = left.shift(); target; target = left.shift())
      countStatus(`fuzz ${target}`, await fuzz(target, FUZZ_SECONDS));
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, runOneByOne));
}

/** The engine's tests on pure cgroup v2, counted like all others. */
async function guest() {
  const out = scratch('diciclo-guest-out-');
  const command = [
    'node',
    VITEST,
    'run',
    ...GUEST_TESTS,
    '--testTimeout=120000',
    '--hookTimeout=60000',
    '--reporter=default',
    '--reporter=json',
  ];
  const started = Date.now();
  try {
    const status = await runInGuest([...command, '--outputFile.json=/guest-out/vitest.json'], {
      out,
      timeoutSeconds: GUEST_TIMEOUT_SECONDS,
    });
    const result = readVitest(path.join(out, 'vitest.json'), status);
    const output = path.join(out, 'output');
    if (result.failed > 0 && existsSync(output)) say(readFileSync(output, 'utf8'));
    say(`test: the guest took ${seconds(started)}`);
    count('guest (cgroup v2)', result);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    count('guest (cgroup v2)', { failed: 1, names: [`${error.message}: ${error.fix}`] });
  } finally {
    done(out);
  }
}

/** What is there now and was not before; what is just ending gets a few seconds. */
async function stillThere(before) {
  for (let round = 0; ; round++) {
    const left = findLeftovers().filter((name) => !before.includes(name));
    if (left.length === 0 || round === 10) return left;
    await sleep(500);
  }
}

async function main(argv) {
  const filters = argv
    .filter((word) => !PARTS.includes(word))
    .map((word) => (existsSync(path.join(checkout, word)) ? word : `test/${word}`));
  const unknown = filters.filter(
    (word) => !existsSync(path.join(checkout, word)) && !existsSync(path.join(checkout, `${word}.test.ts`)),
  );
  if (unknown.length > 0)
    throw new Failure(
      `there is no part or folder of tests ${unknown.join(' ')}`,
      `npm test -- ${PARTS.join('|')}|FOLDER`,
      Exit.usage,
    );
  const all = argv.length === 0;
  const wants = (part) => all || argv.includes(part);
  leaveNothing();
  process.env[MARK] = `${process.pid}-${Date.now()}`;
  const before = findLeftovers();
  await setup(['test']);
  const ahead = wants('ts') ? buildAhead(wants) : undefined;
  if (wants('check')) await check();
  if (wants('ts')) {
    await vitest('ts', []);
    await vitest('real programs (first calls by the kernel door)', FIRST_CALLS_TESTS, { DICICLO_TEST_PATIENCE: '' });
  } else if (filters.length > 0) await vitest('ts', filters);
  await ahead; // alone from here on: nothing beside the native tests
  if (wants('native')) await native('native', 'build', ['--buildtype=release']);
  if (wants('asan')) {
    await native('native (address, undefined)', ...ASAN);
    await sanitizedService('real programs (sanitized service)', ASAN[0], ADDRESS_TESTS);
  }
  if (wants('tsan')) {
    await native('native (thread)', ...TSAN);
    await sanitizedService('real programs (thread-sanitized service)', TSAN[0], THREAD_TESTS);
  }
  if (wants('fuzz')) await fuzzAll();
  if (wants('guest')) await guest();
  const left = await stillThere(before);
  count('nothing left behind', left.length === 0 ? { passed: 1 } : { failed: left.length, names: left });
  for (const name of failures) say(`failed: ${name}`);
  const { passed, failed, skipped } = totals;
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}

main(process.argv.slice(2)).catch(fail);
