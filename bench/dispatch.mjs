/**
 * What system call dispatch costs: calls that a program makes itself and through libc, with it, without it, through the kernel door (the same program linked statically), on the host.
 * Usage: npm run bench -- dispatch [--json]
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setup } from '../scripts/setup.mjs';
import { checkout, say } from '../scripts/shared.mjs';

const CASES = ['getpid', 'readZero', 'pread4k', 'pwrite4k', 'stat', 'openClose'];
const cli = path.join(checkout, 'bin/run.js');

function diciclo(...args) {
  return execFileSync('node', [cli, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function sides(work) {
  const program = path.join(work, 'dispatch-bench');
  const source = path.join(checkout, 'bench/dispatch-bench.c');
  execFileSync('gcc', ['-O2', '-o', program, source]);
  execFileSync('gcc', ['-O2', '-static', '-o', `${program}-static`, source]);
  for (const name of ['host', 'behind', 'behind-plain']) mkdirSync(path.join(work, name));
  const mount = (name, behind, ...more) => {
    const stack = `[cache: {size: 64Mi}, local: {path: ${path.join(work, behind)}}]`;
    diciclo('fs', 'mount', 'bench', path.join(work, name), ...more, '--stack', stack);
  };
  diciclo('pool', 'create', 'bench', '--cores', String(os.cpus().length), '--memory', '1Gi');
  mount('data', 'behind');
  mount('plain', 'behind-plain', '--kernel-cache', 'none');
  const run = (options, file, directory, how) => () => {
    const command = ['run', 'bench', ...options, '--', file, path.join(work, directory), how];
    const result = spawnSync('node', [cli, ...command], { encoding: 'utf8' });
    if (result.status !== 0) throw new Error(`${command.join(' ')}: ${result.stderr}`);
    return JSON.parse(result.stdout);
  };
  const kernel = ['--door', 'kernel'];
  return {
    'no library, host file system': run(kernel, program, 'host', 'own'),
    'kernel door, static program': run(kernel, `${program}-static`, 'data', 'own'),
    'kernel door, no kernel cache': run(kernel, `${program}-static`, 'plain', 'own'),
    'library, calls of libc': run([], program, 'data', 'libc'),
    'dispatch, calls of libc': run(['--syscalls', 'dispatch'], program, 'data', 'libc'),
    'dispatch, own calls': run(['--syscalls', 'dispatch'], program, 'data', 'own'),
  };
}

export async function main() {
  await setup(['demo', 'bench']);
  const work = mkdtempSync(path.join(os.tmpdir(), 'diciclo-bench-'));
  process.env.DICICLO_RUNTIME_DIR = path.join(work, 'run');
  process.env.DICICLO_CGROUP_PARENT = path.basename(work);
  try {
    const results = {};
    for (const [name, run] of Object.entries(sides(work))) {
      say(`bench: ${name}`);
      results[name] = run();
    }
    if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(results, null, 1)}\n`);
    else {
      const line = (name, cells) => `${name.padEnd(30)}${cells.map((cell) => String(cell).padStart(12)).join('')}`;
      const rows = Object.entries(results).map(([name, result]) =>
        line(
          name,
          CASES.map((one) => Math.round(result[one])),
        ),
      );
      process.stdout.write(`${[line('ns per call', CASES), ...rows].join('\n')}\n`);
    }
  } finally {
    spawnSync('node', [cli, 'pool', 'destroy', 'bench', '--yes']);
    rmSync(work, { recursive: true, force: true });
  }
}
