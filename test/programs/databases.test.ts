/** PostgreSQL and Redis are killed in mid-run: what they acknowledged is there after their recovery, and their own checkers find nothing. RocksDB's whole bench runs, and its checksums hold. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { doors, eager, sharedPool, until } from '../e2e/harness.js';
import { makePostgres } from '../e2e/postgres.js';
import { carried, full, WRITE_BACK } from './harness.js';

const CLIENTS = 4;
/** Against hangs alone: the machine may be busy. */
const LIMIT = full ? 5_400_000 : 1_800_000;
const PATIENCE_SECONDS = LIMIT / 6000;

describe.each(full ? ['write-through', 'write-back'] : ['write-back'])('over a cache that is %s', (mode) => {
  const pool = sharedPool(mode === 'write-back' ? WRITE_BACK : undefined);
  /** Pids are those of the pool's own namespace. */
  const kill = (signal: string, file: string) => pool.sh('kernel', `kill -${signal} $(head -1 ${file})`, { cwd: '/' });

  describe.each(full ? doors : (['library'] as const))('through the %s door', (door) => {
    test('PostgreSQL: postmaster killed under pgbench, recovery, amcheck, every committed transaction', async () => {
      const postgres = await makePostgres(pool, door, `postgres-${door}`);
      const { data, ask } = postgres;
      const logs = path.join(pool.work, `ledger-${door}`);
      mkdirSync(logs);
      const number = async (query: string) => (await ask('psql', ['-Atc', query, 'postgres'])).stdout;
      const seen = await carried(pool, `postgres, ${door}`, async () => {
        const sync = full ? [] : ['--no-sync'];
        const made = await postgres.run('initdb', '-A', 'trust', '-U', 'bench', '-k', '--no-instructions', ...sync);
        expect(made.status, made.output).toBe(0);
        let server = postgres.serve();
        await postgres.up();
        const filled = await ask('pgbench', ['-i', '-q', '-s', '1', 'postgres']);
        expect(filled.exitCode, filled.all).toBe(0);
        let acknowledged = 0;
        for (let round = 0; round < (full ? 5 : 1); round++) {
          // -n: else it empties pgbench_history first, and what the rounds before wrote is missing there.
          const log = ['-l', `--log-prefix=${logs}/round-${round}`];
          const bench = ask('pgbench', ['-n', '-c', `${CLIENTS}`, '-T', '200', ...log, 'postgres'], logs);
          await until(
            'some hundred transactions',
            PATIENCE_SECONDS,
            async () => Number(await number('select count(*) from pgbench_history')) > acknowledged + 300,
          );
          await kill('KILL', postgres.pidFile);
          await server;
          await bench;
          for (const name of readdirSync(logs).filter((name) => name.startsWith(`round-${round}.`)))
            acknowledged += readFileSync(path.join(logs, name), 'utf8').trim().split('\n').length;
          // Its children notice that it is gone; until the last one has, a new one refuses to start.
          await until(
            'the old server is gone',
            PATIENCE_SECONDS,
            async () =>
              (await pool.tryRun('kernel', ['sh', '-c', `fuser -s ${data}/base/*/* ${data}/pg_wal/*`])).status !== 0,
          );
          server = postgres.serve();
          await postgres.up();
          const { count, balances } = await postgres.books();
          expect([...balances]).toHaveLength(1);
          expect(count).toBeGreaterThanOrEqual(acknowledged);
          // At most the one that each client was waiting for was committed unheard.
          expect(count).toBeLessThanOrEqual(acknowledged + CLIENTS * (round + 1));
        }
        const checked = await ask('pg_amcheck', ['--install-missing', '--heapallindexed', '--parent-check', '--all']);
        expect(checked.exitCode, checked.all).toBe(0);
        expect(await number('select count(*) from pgbench_accounts')).toBe('100000');
        await kill('INT', postgres.pidFile);
        expect((await server).output).not.toMatch(/PANIC|corrupt/);
        const sound = await postgres.run('pg_checksums', '--check');
        expect(sound.status, sound.output).toBe(0);
      });
      if (door === 'library' && eager) expect(seen.share).toBeGreaterThan(0.8);
    }, 5_400_000);

    test('Redis with appendfsync always: killed under load and in a rewrite, every acknowledged write is there', async () => {
      const data = `${pool.mount}/redis-${door}`;
      const socket = path.join(pool.work, `redis-${door}.sock`);
      await pool.sh('kernel', `mkdir ${data}`);
      const place = ['--dir', data, '--pidfile', `${data}/pid`, '--port', '0', '--unixsocket', socket];
      const rewrite = ['--auto-aof-rewrite-min-size', '64kb', '--auto-aof-rewrite-percentage', '50'];
      const keep = ['--save', '60', '1', '--appendonly', 'yes', '--appendfsync', 'always', ...rewrite];
      const serve = () =>
        pool.tryRun(door, ['redis-server', '--daemonize', 'no', ...place, ...keep], { cwd: '/', timeout: 1_500_000 });
      const cli = (...words: string[]) => execa('redis-cli', ['-s', socket, ...words], { reject: false });
      const up = () => until('Redis answers', PATIENCE_SECONDS, async () => (await cli('ping')).stdout === 'PONG');
      const seen = await carried(pool, `redis, ${door}`, async () => {
        let acknowledged = 0;
        for (let round = 0; round < (full ? 6 : 2); round++) {
          const server = serve();
          await up();
          expect(Number((await cli('get', 'counter')).stdout || 0)).toBeGreaterThanOrEqual(acknowledged);
          expect(Number((await cli('llen', 'list')).stdout)).toBeGreaterThanOrEqual(acknowledged);
          const heard = await flood(socket, 1500 * (round + 1), async () => {
            await cli('bgrewriteaof');
            await kill('KILL', `${data}/pid`);
          });
          acknowledged = Math.max(acknowledged, heard);
          await server;
          const checked = await pool.tryRun(
            door,
            ['sh', '-c', 'cd appendonlydir && redis-check-aof appendonly.aof.manifest'],
            {
              cwd: data,
            },
          );
          expect(checked.output).toMatch(/is valid|RDB preamble is OK|All AOF files/);
        }
        const server = serve();
        await up();
        expect(Number((await cli('get', 'counter')).stdout)).toBeGreaterThanOrEqual(acknowledged);
        expect(acknowledged).toBeGreaterThan(2000);
        await cli('shutdown', 'save');
        expect((await server).status).toBe(0);
        const dump = await pool.tryRun(door, ['redis-check-rdb', 'dump.rdb'], { cwd: data });
        expect(dump.output).toContain('RDB looks OK');
      });
      if (door === 'library' && eager) expect(seen.share).toBeGreaterThan(0.9);
    }, 5_400_000);

    test('db_bench: its whole list of workloads, every checksum and key verified', async () => {
      const seen = await carried(pool, `db_bench, ${door}`, async () => {
        for (const { list, options } of BENCHES) {
          const result = await pool.tryRun(
            door,
            [
              'db_bench',
              `--db=${pool.mount}/rocks-${door}`,
              `--benchmarks=${list}`,
              `--num=${full ? 20_000 : 2000}`,
              ...BENCH_OPTIONS,
              ...options,
            ],
            { timeout: LIMIT },
          );
          expect(result.status, result.output).toBe(0);
          expect(result.output).not.toMatch(/corrupt|IO error|put error|get error/i);
          for (const name of list.split(',').filter((name) => !SILENT.includes(name)))
            expect(result.output).toMatch(new RegExp(`^${name} +:`, 'm'));
        }
      });
      if (door === 'library' && eager) expect(seen.share).toBeGreaterThan(0.98);
    }, 5_400_000);
  });
});

const BENCH_OPTIONS = [
  '--value_size=400',
  '--write_buffer_size=262144',
  '--target_file_size_base=131072',
  '--merge_operator=put',
  '--verify_checksum=true',
  '--compression_type=none',
  '--cache_size=262144',
  '--seek_nexts=10',
  '--threads=2',
];
/** They print no line of figures. */
const SILENT = ['compact', 'compactall', 'flush', 'waitforcompaction', 'compact0', 'compact1', 'stats', 'levelstats'];
const BENCHES = [
  {
    list: 'fillseq,fillsync,fillrandom,overwrite,readrandom,newiterator,newiteratorwhilewriting,seekrandom,seekrandomwhilewriting,seekrandomwhilemerging,readseq,readreverse,compact,verifychecksum,flush,multireadrandom,readtocache,readwhilewriting,readwhilemerging,readwhilescanning,readrandomwriterandom,updaterandom,xorupdaterandom,appendrandom,mergerandom,readrandommergerandom,approximatesizerandom,randomwithverify,fill100K,fillseekseq,deleteseq,deleterandom,timeseries,readmissing,verifychecksum',
    options: [],
  },
  // Reads and writes past the page cache; mapped reads and writes.
  {
    list: 'fillrandom,overwrite,readrandom,compact,verifychecksum',
    options: ['--use_direct_reads=true', '--use_direct_io_for_flush_and_compaction=true'],
  },
  { list: 'fillrandom,readrandom,readseq,compact,verifychecksum', options: ['--mmap_read=true', '--mmap_write=true'] },
  { list: 'fillrandom,readrandom,backup,restore,verifychecksum', options: ['--threads=1'] },
];

/** Sends `INCR counter; RPUSH list` pairs in pipelines until the server is gone; `kill` is called after `count` answers. The highest acknowledged counter. */
function flood(socket: string, count: number, kill: () => Promise<void>): Promise<number> {
  return new Promise((resolve, reject) => {
    const connection = net.connect(socket);
    let heard = 0;
    let last = 0;
    let killed = false;
    let rest = '';
    const send = () => connection.write('MULTI\r\nINCR counter\r\nRPUSH list x\r\nEXEC\r\n'.repeat(8));
    connection.on('connect', send);
    connection.on('data', (data) => {
      rest += data;
      // *2 is an EXEC's answer: the new counter, and the list's length.
      for (
        let found = /\*2\r\n:(\d+)\r\n:(\d+)\r\n/.exec(rest);
        found;
        found = /\*2\r\n:(\d+)\r\n:(\d+)\r\n/.exec(rest)
      ) {
        rest = rest.slice(found.index + found[0].length);
        last = Number(found[1]);
        if (++heard % 8 === 0) send();
      }
      if (heard >= count && !killed) {
        killed = true;
        kill().catch(reject);
      }
    });
    connection.on('error', () => {});
    connection.on('close', () => resolve(last));
  });
}
