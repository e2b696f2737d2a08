/**
 * Where the benches run: a runtime directory, a control group and a working directory of their own, all gone after; pools, and long-lived programs in them that are asked line by line, so that
 * sides can be measured in turn.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { checkout, Failure, say } from '../scripts/shared.mjs';

const cli = path.join(checkout, 'bin/run.js');
export const library = path.join(checkout, 'build/library/libdiciclo.so');
const tuner = path.join(checkout, 'build/tune/diciclo-tune');
const built = path.join(checkout, 'build/bench');

const PROGRAMS = {
  'io-bench': { sources: ['bench/io-bench.c'] },
  'spawn-bench': { sources: ['bench/spawn-bench.c'] },
  'request-bench': {
    sources: [
      'bench/request-bench.c',
      ...['client', 'mailbox', 'queue', 'receiver', 'waiting'].map((name) => `native/ipc/${name}.c`),
    ],
    flags: ['-std=gnu17', '-D_GNU_SOURCE', '-Inative/ipc', '-Inative/include'],
  },
};

export function sh(command, args, options = {}) {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], ...options });
}

/** One of the programs above, or a rival's: built when it is older than its sources. */
export function compile(name, { sources, flags = [], compiler = 'gcc' } = PROGRAMS[name]) {
  const program = path.join(built, name);
  const files = sources.map((source) => path.resolve(checkout, source));
  const newest = Math.max(...files.map((file) => statSync(file).mtimeMs));
  if (!existsSync(program) || statSync(program).mtimeMs < newest) {
    mkdirSync(built, { recursive: true });
    sh(compiler, ['-O2', '-o', program, ...files, '-pthread', ...flags], { cwd: checkout });
  }
  return program;
}

/** A program that answers each line with a line of JSON. */
export class Agent {
  #child;
  #lines;
  #ended;
  #errors = '';

  constructor(argv) {
    this.name = argv.slice(-2).join(' ');
    this.#child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin.on('error', () => {});
    this.#child.stderr.on('data', (data) => {
      this.#errors = `${this.#errors}${data}`.slice(-4000);
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => this.#child.on('close', resolve));
  }

  async next() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Failure(`${this.name} ended: ${this.#errors.trim() || 'without a word'}`);
    return JSON.parse(value);
  }

  ask(line) {
    this.#child.stdin.write(`${line}\n`);
    return this.next();
  }

  async end() {
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
    await this.#ended;
    clearTimeout(late);
  }
}

/** A shell in the pool that runs line after line; nothing else of the pool's runs meanwhile, so the pool's CPU time is the command's. */
export class Shell {
  #child;
  #output = '';
  #wake = () => {};

  constructor(argv) {
    this.#child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin.on('error', () => {});
    const more = (text) => {
      this.#output += text;
      this.#wake();
    };
    this.#child.stdout.on('data', more);
    this.ended = new Promise((resolve) =>
      this.#child.on('close', () => {
        more('\n::end 255\n');
        resolve();
      }),
    );
  }

  /** What it prints on both outputs; throws when it fails. */
  async run(command) {
    this.#output = '';
    this.#child.stdin.write(`{ ${command}; } 2>&1 </dev/null; printf '\\n::end %d\\n' $?\n`);
    for (let end; ; ) {
      end = /\n::end (\d+)\n/.exec(this.#output);
      if (!end) await new Promise((resolve) => (this.#wake = resolve));
      else if (end[1] === '0') return this.#output.slice(0, end.index);
      else throw new Failure(`${command.slice(0, 200)}: status ${end[1]}: ${this.#output.slice(-500)}`);
    }
  }

  async end() {
    this.#child.stdin.end();
    await this.ended;
  }
}

export class Stage {
  #undo = [];
  #closing;

  constructor() {
    this.work = mkdtempSync(path.join(os.tmpdir(), 'diciclo-bench-'));
    process.env.DICICLO_RUNTIME_DIR = path.join(this.work, 'run');
    process.env.DICICLO_CGROUP_PARENT = path.basename(this.work);
    this.cpus = os.availableParallelism();
    this.memory = Math.min(4 << 20, Math.floor(os.totalmem() / 2048)); // KiB
    for (const signal of ['SIGINT', 'SIGTERM'])
      process.once(signal, () => this.close().finally(() => process.exit(130)));
  }

  /** As after `diciclo tune`, which an operator runs once for a machine; its own profile is left alone. */
  tune() {
    if (process.env.DICICLO_COPY_PROFILE) return;
    process.env.DICICLO_COPY_PROFILE = path.join(this.work, 'copy.json');
    const { rows } = JSON.parse(sh(tuner, []));
    const chosen = rows.filter(({ routine }) => routine !== 'libc');
    const words = chosen.map(({ direction, upTo, routine }) => `${direction} ${upTo ?? 'larger'} ${routine}`);
    say(`bench: copy routines as \`diciclo tune\` measured them just now: ${words.join(', ') || 'libc throughout'}`);
  }

  /** A directory of the host, made here. */
  at(name) {
    const directory = path.join(this.work, name);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  /** Done by close(), the latest first. */
  later(undo) {
    this.#undo.push(undo);
  }

  diciclo(...args) {
    return sh('node', [cli, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Everything of the machine for one pool; the sides that are compared with it run in it too. */
  pool(name, ...options) {
    const size = options.length > 0 ? options : ['--cores', `${this.cpus}`, '--memory', `${this.memory}Ki`];
    this.later(() => this.destroy(name));
    this.diciclo('pool', 'create', name, ...size);
    return this.show(name);
  }

  destroy(name) {
    spawnSync('node', [cli, 'pool', 'destroy', name, '--yes']);
  }

  show(name) {
    const pool = JSON.parse(this.diciclo('pool', 'show', name, '--json'));
    return { ...pool, bare: name, servicePid: insidePid(pool.service.pid) };
  }

  mount(pool, directory, stack, ...options) {
    this.diciclo('fs', 'mount', pool, directory, ...options, '--stack', stack);
    return directory;
  }

  command(pool, door, argv) {
    return ['node', cli, 'run', pool, '--door', door, '--', ...argv];
  }

  /** A command in the pool, to its end. */
  run(pool, door, argv) {
    const [program, ...args] = this.command(pool, door, argv);
    return sh(program, args);
  }

  async agent(pool, door, argv) {
    const agent = new Agent(this.command(pool, door, argv));
    this.later(() => agent.end());
    await agent.next();
    return agent;
  }

  shell(pool, door) {
    const shell = new Shell(this.command(pool, door, ['sh']));
    this.later(() => shell.end());
    return shell;
  }

  /** A daemon in the pool that mounts at `directory`; answers its pid as the pool sees it. */
  async daemon(pool, argv, directory) {
    const child = spawn(
      'node',
      [cli, 'run', pool, '--door', 'kernel', '--', 'sh', '-c', 'echo $$; exec "$@"', 'sh', ...argv],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let errors = '';
    child.stderr.on('data', (data) => {
      errors = `${errors}${data}`.slice(-2000);
    });
    const ended = new Promise((resolve) => child.on('close', resolve));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value } = await lines.next();
    this.later(async () => {
      spawnSync('node', [cli, 'run', pool, '--door', 'kernel', '--', 'umount', '-l', directory]);
      child.kill('SIGTERM');
      await ended;
    });
    for (let tries = 0; tries < 200; tries++) {
      const test = `mountpoint -q '${directory}'`;
      const [program, ...args] = this.command(pool, 'kernel', [
        'sh',
        '-c',
        `for i in 1 2 3 4 5 6 7 8; do ${test} && exit 0; sleep 0.05; done; exit 1`,
      ]);
      if (spawnSync(program, args).status === 0) return Number(value);
      if (child.exitCode !== null) break;
    }
    throw new Failure(`${argv[0]} did not mount ${directory}: ${errors.trim()}`);
  }

  /** Undoes everything, once; an interrupted bench and its own end may both ask for it. */
  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    while (this.#undo.length > 0) {
      try {
        await this.#undo.pop()();
      } catch (error) {
        say(`bench: while cleaning up: ${error.message}`);
      }
    }
    // An error on the way left something mounted: nothing below it may be removed.
    if (!readFileSync('/proc/self/mounts', 'utf8').includes(` ${this.work}`))
      rmSync(this.work, { recursive: true, force: true });
  }
}

/** A process of the host as its own pid namespace numbers it. */
export function insidePid(pid) {
  const numbers = /^NSpid:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1].split(/\s+/);
  return Number(numbers.at(-1));
}

/** CPU time of everything that ever ran in the pool, kernel time included, in nanoseconds. */
export function poolCpuNs(pool) {
  const v1 = path.join(pool.cgroups.cpuacct ?? pool.cgroups.cpu, 'cpuacct.usage');
  if (existsSync(v1)) return Number(readFileSync(v1, 'utf8'));
  const stat = readFileSync(path.join(pool.cgroups.cpu, 'cpu.stat'), 'utf8');
  return Number(/^usage_usec (\d+)/m.exec(stat)[1]) * 1000;
}

/** Pids (the host's) of all of the pool's processes. */
export function poolPids(pool) {
  const pids = [];
  const walk = (directory) => {
    const list = readFileSync(path.join(directory, 'cgroup.procs'), 'utf8');
    pids.push(...list.split('\n').filter(Boolean).map(Number));
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isDirectory()) walk(path.join(directory, entry.name));
  };
  walk(pool.cgroups.cpu);
  return pids;
}

/** All threads of a process on these CPUs (taskset's list). */
export function pinProcess(pid, list) {
  sh('taskset', ['-acp', list, String(pid)]);
}
