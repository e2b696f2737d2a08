/** Applications and services that are killed. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { doors, sharedPool, until } from './harness.js';

const pool = sharedPool();

test.each(doors)(
  'redis: kill -9, restart, every acknowledged key (%s)',
  async (door) => {
    const socket = path.join(pool.work, `redis-${door}.sock`);
    await pool.sh(door, `mkdir -p redis-${door}`);
    const server = [
      'redis-server',
      '--dir',
      `${pool.mount}/redis-${door}`,
      '--port',
      '0',
      '--unixsocket',
      socket,
      '--appendonly',
      'yes',
      '--appendfsync',
      'always',
      '--save',
      '',
    ];
    const argv = await pool.engine.enterCommand(pool.pool, server, { door, cwd: '/' });
    const start = () => execa(argv[0] as string, argv.slice(1), { reject: false, stdin: 'ignore', all: true });
    const cli = (...words: string[]) => execa('redis-cli', ['-s', socket, ...words]);
    const first = start();
    await until('redis answers', 20, async () => (await cli('ping')).stdout === 'PONG');
    // Keys one by one, so that each is acknowledged by itself; the kill comes in the middle.
    const writer = execa(
      'sh',
      ['-c', `i=0; while redis-cli -s ${socket} set k$i $i | grep -q OK; do echo $i; i=$((i+1)); done`],
      { reject: false },
    );
    await until('some keys are there', 60, async () => Number((await cli('dbsize')).stdout) > 40);
    const pid = (await cli('info', 'server')).stdout.match(/process_id:(\d+)/)?.[1];
    await pool.sh(door, `kill -9 ${pid}`, { cwd: '/' });
    await first;
    const acknowledged = (await writer).stdout.split('\n').filter(Boolean).length;
    expect(acknowledged).toBeGreaterThan(20);
    const second = start();
    await until('redis answers again', 20, async () => (await cli('ping')).stdout === 'PONG');
    const missing: number[] = [];
    for (let i = 0; i < acknowledged; i++) if ((await cli('get', `k${i}`)).stdout !== String(i)) missing.push(i);
    expect(missing).toEqual([]);
    await cli('shutdown', 'nosave').catch(() => {});
    await second;
  },
  120_000,
);

test('SIGKILL of applications in mid-call: the service and the others go on', async () => {
  const before = await pool.servicePid();
  for (let round = 0; round < 20; round++) {
    const argv = await pool.engine.enterCommand(
      pool.pool,
      ['dd', 'if=/dev/zero', `of=${pool.mount}/victim`, 'bs=4k', 'count=1000000', 'conv=notrunc'],
      { door: 'library', cwd: '/' },
    );
    const victim = execa(argv[0] as string, argv.slice(1), { reject: false, stdin: 'ignore' });
    await sleep(60 + round * 7);
    victim.kill('SIGKILL');
    await victim;
  }
  expect(await pool.sh('library', 'echo alive > alive && cat alive')).toBe('alive');
  expect(await pool.servicePid()).toBe(before);
  await until('the dead are forgotten', 30, async () => {
    const stats = (await pool.engine.stats(pool.pool)) as unknown as { clients: { attached: number } };
    return stats.clients.attached === 0;
  });
}, 300_000);

test('SIGKILL of the service: back within a second at the same place, what was fsynced is there', async () => {
  await pool.sh('library', 'for i in $(seq 30); do echo $i > kept-$i; done; sync -f . ; sync kept-*');
  for (let round = 0; round < 5; round++) {
    const old = await pool.servicePid();
    process.kill(old, 'SIGKILL');
    const start = Date.now();
    await until('another service runs', 30, async () => {
      const now = await pool.engine.showPool(pool.pool);
      return now.service !== null && now.service.pid !== old && now.service.state === 'running';
    });
    process.stderr.write(`back after ${Date.now() - start} ms\n`);
    for (const door of doors)
      expect(await pool.sh(door, 'cat $(ls kept-* | sort -V) | paste -sd" "')).toBe(
        Array.from({ length: 30 }, (_, i) => i + 1).join(' '),
      );
  }
}, 300_000);

test('a descriptor from before the kill answers an error or works, never wrong data', async () => {
  const script = `
import os, sys, time, signal
fd = os.open('held', os.O_RDWR | os.O_CREAT)
os.write(fd, b'A' * 8192); os.fsync(fd)
print('ready', flush=True)
deadline = time.time() + 3
good = bad = 0
while time.time() < deadline:
    try:
        data = os.pread(fd, 4096, 4096)
        if data != b'A' * 4096: sys.exit('wrong data')
        good += 1
    except OSError as e:
        bad += 1
        time.sleep(0.01)
print('good', good > 0, flush=True)
with open('held', 'rb') as f:
    if f.read() != b'A' * 8192: sys.exit('wrong data after reopening')
`;
  for (const door of doors) {
    const argv = await pool.engine.enterCommand(pool.pool, ['python3', '-c', script], { door, cwd: pool.mount });
    const reader = execa(argv[0] as string, argv.slice(1), { all: true, reject: false, stdin: 'ignore' });
    await sleep(1000);
    process.kill(await pool.servicePid(), 'SIGKILL');
    const result = await reader;
    expect(result.all).toBe('ready\ngood True');
    expect(result.exitCode).toBe(0);
  }
}, 300_000);

test('files written and synced are in the backing directory', () => {
  expect(readFileSync(path.join(pool.backing, 'kept-7'), 'utf8')).toBe('7\n');
});
