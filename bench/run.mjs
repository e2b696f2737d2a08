#!/usr/bin/env node
/**
 * The figures, in one run, side by side: what a call costs through the library, the kernel door, libfuse's own passthrough example and on ext4; what the command line and a pool cost.
 * All sides run inside one pool, on the same cores; each side that has a kernel cache runs with it and without it, named. Usage: npm run bench [-- --json]
 * `npm run bench -- queue [--json] [--quick] [--ms N]` measures the queues instead (queue.mjs), `-- dispatch [--json]` system call dispatch (dispatch.mjs).
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setup } from '../scripts/setup.mjs';
import { checkout, fail, say } from '../scripts/shared.mjs';

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples';
const CASES = ['pread4k', 'pwrite4k', 'stat', 'openClose', 'createUnlink', 'read1m', 'write1m'];
const cli = path.join(checkout, 'bin/run.js');

function sh(command, args, options = {}) {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], ...options });
}

function diciclo(...args) {
  return sh('node', [cli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

function build(work) {
  sh('gcc', ['-O2', '-o', path.join(work, 'io-bench'), path.join(checkout, 'bench/io-bench.c')]);
  const flags = sh('pkg-config', ['--cflags', '--libs', 'fuse3']).trim().split(/\s+/);
  const source = path.join(EXAMPLES, 'passthrough_ll.c');
  if (!existsSync(source)) throw new Error(`${source} is missing (package libfuse3-dev)`);
  sh('gcc', ['-O2', '-w', '-D_GNU_SOURCE', '-o', path.join(work, 'passthrough_ll'), source, ...flags]);
}

/** io-bench in the pool; with `daemon`, an argv that serves `directory` meanwhile, in the pool too. */
function ioBench(pool, work, directory, { door = 'kernel', serverPid = '', daemon = null } = {}) {
  const bench = `${path.join(work, 'io-bench')} ${directory}`;
  const script = daemon
    ? `${daemon} & pid=$!; for i in $(seq 100); do mountpoint -q ${directory} && break; sleep 0.05; done; ${bench} $pid; status=$?; umount ${directory}; wait $pid; exit $status`
    : `exec ${bench} ${serverPid}`;
  const result = spawnSync('node', [cli, 'run', pool, '--door', door, '--', 'sh', '-c', script], { encoding: 'utf8' });
  const line = result.stdout.split('\n').find((text) => text.startsWith('{'));
  if (!line) throw new Error(`io-bench on ${directory}: ${result.stderr}`);
  return JSON.parse(line);
}

function sides(pool, work) {
  const at = (name) => path.join(work, name);
  for (const name of ['ext4', 'fuse', 'behind']) mkdirSync(at(name));
  const fuse = (options) => ({
    daemon: `${at('passthrough_ll')} -f -o source=${at('behind')},${options} ${at('fuse')}`,
  });
  // The service as the pool sees it: pool-init's first child.
  const serverPid = sh('node', [cli, 'run', pool, '--door', 'kernel', '--', 'pgrep', '-x', 'diciclo-service']).trim();
  return [
    ['ext4', () => ioBench(pool, work, at('ext4'))],
    ['library', () => ioBench(pool, work, at('data'), { door: 'library', serverPid })],
    ['kernel door, kernel caches', () => ioBench(pool, work, at('data'), { serverPid })],
    ['kernel door, no kernel cache', () => ioBench(pool, work, at('plain'), { serverPid })],
    ['passthrough_ll, no kernel cache', () => ioBench(pool, work, at('fuse'), fuse('cache=never'))],
    ['passthrough_ll, kernel caches', () => ioBench(pool, work, at('fuse'), fuse('cache=always'))],
    ['passthrough_ll, writeback cache', () => ioBench(pool, work, at('fuse'), fuse('cache=always,writeback'))],
  ];
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

function milliseconds(run, times = 7) {
  return median(
    Array.from({ length: times }, () => {
      const start = process.hrtime.bigint();
      run();
      return Number(process.hrtime.bigint() - start) / 1e6;
    }),
  );
}

function commandLine(work) {
  const bare = milliseconds(() => sh('node', ['-e', '0']));
  const list = milliseconds(() => diciclo('pool', 'list', '--json'));
  const directory = path.join(work, 'first');
  mkdirSync(directory);
  const first = milliseconds(() => {
    diciclo('pool', 'create', 'bench-first');
    diciclo(
      'fs',
      'mount',
      'bench-first',
      path.join(work, 'firstmount'),
      '--stack',
      `[cache: {size: 64Mi}, local: {path: ${directory}}]`,
    );
    diciclo('run', 'bench-first', '--', 'sh', '-c', `echo x > ${work}/firstmount/x`);
    const end = process.hrtime.bigint();
    diciclo('pool', 'destroy', 'bench-first', '--yes');
    return end;
  }, 3);
  return { bareNodeMs: bare, poolListMs: list, createMountRunDestroyMs: first };
}

function table(results) {
  const ext4 = results.ext4;
  const width = Math.max(...Object.keys(results).map((name) => name.length));
  const cell = (text) => text.padStart(22);
  const lines = [`${'ns per call (times ext4) CPU'.padEnd(width + 2)}${CASES.map(cell).join('')}`];
  for (const [name, result] of Object.entries(results))
    lines.push(
      `${name.padEnd(width + 2)}${CASES.map((one) => {
        const { ns, cpuNs, serverCpuNs } = result[one];
        return cell(`${Math.round(ns)} (${(ns / ext4[one].ns).toFixed(2)}) ${Math.round(cpuNs + serverCpuNs)}`);
      }).join('')}`,
    );
  return lines.join('\n');
}

async function main() {
  const json = process.argv.includes('--json');
  await setup(['demo', 'bench']);
  const work = mkdtempSync(path.join(os.tmpdir(), 'diciclo-bench-'));
  process.env.DICICLO_RUNTIME_DIR = path.join(work, 'run');
  process.env.DICICLO_CGROUP_PARENT = path.basename(work);
  try {
    build(work);
    const stack = `[cache: {size: 128Mi}, local: {path: ${work}/behind-data}]`;
    mkdirSync(path.join(work, 'behind-data'));
    diciclo('pool', 'create', 'bench', '--cores', String(os.cpus().length), '--memory', '2Gi');
    diciclo('fs', 'mount', 'bench', path.join(work, 'data'), '--stack', stack);
    mkdirSync(path.join(work, 'behind-plain'));
    diciclo(
      'fs',
      'mount',
      'bench',
      path.join(work, 'plain'),
      '--kernel-cache',
      'none',
      '--stack',
      stack.replace('behind-data', 'behind-plain'),
    );
    const results = {};
    for (const [name, run] of sides('bench', work)) {
      say(`bench: ${name}`);
      results[name] = run();
    }
    const command = commandLine(work);
    if (json) process.stdout.write(`${JSON.stringify({ results, command }, null, 1)}\n`);
    else
      process.stdout.write(
        `${table(results)}\n\nbare node ${command.bareNodeMs.toFixed(0)} ms, diciclo pool list ${command.poolListMs.toFixed(0)} ms; pool create, mount, first write, destroy (four commands) ${command.createMountRunDestroyMs.toFixed(0)} ms\n`,
      );
  } finally {
    for (const pool of ['bench', 'bench-first']) spawnSync('node', [cli, 'pool', 'destroy', pool, '--yes']);
    rmSync(work, { recursive: true, force: true });
  }
}

const others = { queue: './queue.mjs', dispatch: './dispatch.mjs' };
const other = others[process.argv[2]];
(other ? import(other).then((bench) => bench.main()) : main()).catch(fail);
