/** PostgreSQL in a pool: its data on the mount, run by a user of its own; its socket lies beside the mount, so that clients run on the host. */
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { type Door, type TestPool, until } from './harness.js';

const PROGRAMS = '/usr/lib/postgresql/15/bin';
export const postgresIsThere = existsSync(`${PROGRAMS}/initdb`);
/** What only pgbench's bank looks like whose books balance: transactions, and the four sums that must be the same. */
const BOOKS = `select count(*), sum(delta), (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
  (select sum(bbalance) from pgbench_branches) from pgbench_history`;

export interface Postgres {
  data: string;
  pidFile: string;
  /** One of its own programs in the pool, as its user; with what it ended. */
  run(program: string, ...words: string[]): ReturnType<TestPool['tryRun']>;
  /** Starts the server; with what it ended. */
  serve(): ReturnType<TestPool['tryRun']>;
  /** Until it answers. */
  up(): Promise<void>;
  /** One of the clients' programs on the host, in the directory `cwd`. */
  ask(program: string, words: string[], cwd?: string): Promise<{ exitCode?: number; stdout: string; all: string }>;
  /** The transactions of pgbench, and its balances, which must be one number. */
  books(): Promise<{ count: number; balances: Set<number> }>;
}

export async function makePostgres(pool: TestPool, door: Door, name: string): Promise<Postgres> {
  const data = `${pool.mount}/${name}`;
  const sockets = path.join(pool.work, `${name}-sockets`);
  mkdirSync(sockets);
  await execa('chmod', ['711', pool.work]);
  await execa('chown', ['postgres', sockets]);
  await pool.sh('kernel', `mkdir ${data} && chown postgres ${data} && chmod 700 ${data}`);
  const user = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups'];
  const run: Postgres['run'] = (program, ...words) =>
    pool.tryRun(door, [...user, `${PROGRAMS}/${program}`, '-D', data, ...words], { cwd: '/', timeout: 1_500_000 });
  const ask: Postgres['ask'] = (program, words, cwd) =>
    execa(`${PROGRAMS}/${program}`, ['-h', sockets, '-U', 'bench', ...words], { all: true, reject: false, cwd });
  return {
    data,
    pidFile: `${data}/postmaster.pid`,
    run,
    ask,
    serve: () => run('postgres', '-k', sockets, '-c', 'listen_addresses=', '-c', 'max_wal_size=64MB'),
    up: () =>
      until('PostgreSQL answers', 300, async () => (await ask('psql', ['-c', 'select 1', 'postgres'])).exitCode === 0),
    async books() {
      const [count = Number.NaN, ...balances] = (await ask('psql', ['-Atc', BOOKS, 'postgres'])).stdout
        .split('|')
        .map(Number);
      return { count, balances: new Set(balances) };
    },
  };
}
