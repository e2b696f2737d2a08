/** The service is killed ten times under databases, with writes under way: they notice nothing, and every acknowledged change is there. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Door, doors, sharedPool, until } from './harness.js';
import { makePostgres, postgresIsThere } from './postgres.js';

const KILLS = 10;

beforeAll(() => {
  // Ten kills in seconds: what is tested is what applications see, not how long a broken service is left alone.
  process.env.DICICLO_TEST_NO_BACKOFF = '1';
});
afterAll(() => {
  delete process.env.DICICLO_TEST_NO_BACKOFF;
});
const pool = sharedPool();

const run = (door: Door, command: string[]) => pool.tryRun(door, command, { timeout: 300_000 });

/** Kills the service `KILLS` times, each time when it runs again, spread over `milliseconds`; how often it was killed while `busy` held. */
async function killService(milliseconds: number, busy: () => boolean): Promise<number> {
  let killed = 0;
  for (let round = 0; round < KILLS && busy(); round++) {
    await sleep((milliseconds / KILLS) * (0.6 + (round % 3) * 0.4));
    const old = await pool.servicePid();
    if (!busy()) break;
    process.kill(old, 'SIGKILL');
    killed++;
    await until('the service is back', 5, async () => {
      const { service } = await pool.engine.showPool(pool.pool);
      return service !== null && service.pid !== old && service.state === 'running';
    });
  }
  return killed;
}

test('service upgrade under load: the same files are open, nothing failed', async () => {
  const script =
    'exec 3<>held; for i in $(seq 400); do echo $i >&3; echo $i > f-$((i % 7)); cat f-$((i % 7)) >/dev/null; done; rm held; wc -l <&3';
  const writers = doors.map((door) => run(door, ['bash', '-e', '-c', `mkdir up-${door}; cd up-${door}; ${script}`]));
  for (let round = 0; round < 5; round++) {
    await sleep(200);
    const before = await pool.engine.showPool(pool.pool);
    const upgrade = await pool.engine.upgradeService(pool.pool);
    expect(upgrade).toMatchObject({ pool: pool.pool, drained: true, epoch: (before.service?.epoch ?? 0) + 1 });
    expect(await pool.servicePid()).toBe(upgrade.pid);
  }
  for (const result of await Promise.all(writers)) expect(result.status, result.output).toBe(0);
}, 600_000);

test('db_bench through both doors at once: fill and overwrite under ten kills, every key is there', async () => {
  const keys = 150_000;
  const bench = async (door: Door, of: Door, benchmarks: string, ...options: string[]) => {
    const result = await run(door, [
      'db_bench',
      `--benchmarks=${benchmarks},readrandom`,
      `--db=${pool.mount}/rocks-${of}`,
      `--num=${keys}`,
      '--value_size=200',
      ...options,
    ]);
    expect(result.status, `${door}: ${result.output}`).toBe(0);
    expect(result.output).toContain(`(${keys} of ${keys} found)`);
  };
  const small = ['--write_buffer_size=2097152', '--target_file_size_base=1048576'];
  let killing = true;
  const fills = Promise.all(
    doors.map(async (door) => {
      await bench(door, door, 'fillseq,overwrite', ...small);
      // However fast a door is, every kill finds both at work.
      while (killing) await bench(door, door, 'overwrite', '--use_existing_db=1', ...small);
    }),
  ).finally(() => {
    killing = false;
  });
  // What is made once, at the start, and was under way when the service died, may be answered EIO: the kills fall into the run.
  const current = doors.map((door) => path.join(pool.backing, `rocks-${door}/CURRENT`));
  while (killing && !current.every((file) => existsSync(file))) await sleep(20);
  const killed = await killService(4000, () => killing).finally(() => {
    killing = false;
  });
  await fills;
  for (const door of doors) {
    await bench(door, door === 'library' ? 'kernel' : 'library', 'verifychecksum', '--use_existing_db=1');
  }
  expect(killed).toBe(KILLS);
}, 600_000);

test.skipIf(!postgresIsThere)(
  'PostgreSQL: pgbench under ten kills, no failed transaction, the books balance',
  async () => {
    const postgres = await makePostgres(pool, 'library', 'postgres');
    const made = await postgres.run('initdb', '-A', 'trust', '-U', 'bench', '--no-sync');
    expect(made.status, made.output).toBe(0);
    const server = postgres.serve();
    try {
      await postgres.up();
      const filled = await postgres.ask('pgbench', ['-i', '-q', '-s', '2', 'postgres']);
      expect(filled.exitCode, filled.all).toBe(0);
      let killing = true;
      const kills = killService(4500, () => true).finally(() => {
        killing = false;
      });
      let done = 0;
      while (killing) {
        const result = await postgres.ask('pgbench', ['-n', '-c', '4', '-j', '2', '-T', '6', 'postgres']);
        expect(result.exitCode, result.all).toBe(0);
        expect(result.all).toContain('number of failed transactions: 0 ');
        done += Number(/transactions actually processed: (\d+)/.exec(result.all)?.[1]);
      }
      expect(await kills).toBe(KILLS);
      expect(done).toBeGreaterThan(KILLS);
      const { count, balances } = await postgres.books();
      expect(count).toBe(done);
      expect([...balances]).toHaveLength(1);
    } finally {
      await pool.sh('library', `kill -INT $(head -1 ${postgres.pidFile})`, { cwd: '/' }).catch(() => {});
      expect((await server).output).not.toMatch(/PANIC|could not/);
    }
  },
  600_000,
);
