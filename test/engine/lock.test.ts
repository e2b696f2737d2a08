import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock, readHolder, withLock } from '../../src/engine/lock.js';
import { checkout, here } from './harness.js';

describe('locks', () => {
  let directory: string;
  let file: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'dct-lock-'));
    file = path.join(directory, 'lock');
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  const options = { subject: 'the test', what: 'test', timeout: 20_000 };
  const holderProcess = (...argv: string[]) => {
    const child = spawn(process.execPath, ['--import', 'tsx', path.join(here, 'fakes/lock-holder.ts'), file, ...argv], {
      cwd: checkout,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    return child;
  };
  const line = (child: ChildProcess) =>
    new Promise<string>((resolve) => child.stdout?.once('data', (chunk) => resolve(String(chunk).trim())));
  const ended = (child: ChildProcess) => new Promise((resolve) => child.on('exit', resolve));

  it('lets one in at a time, in this process too', async () => {
    let inside = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setTimeout(resolve, 10));
      inside--;
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(file, options, work)));
    expect(most).toBe(1);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('gives up after its time and names the living holder', async () => {
    const child = holderProcess('hold');
    const pid = Number(await line(child));
    await expect(acquireLock(file, { ...options, timeout: 200 })).rejects.toMatchObject({
      code: 'LOCK_TIMEOUT',
      exit: 8,
      message: expect.stringMatching(new RegExp(`the test is held by process ${pid} \\(hold it`)),
    });
  });

  it('takes over from a holder that was killed, whatever its pid means by now', async () => {
    const child = holderProcess('hold');
    await line(child);
    child.kill('SIGKILL');
    await ended(child);
    expect(existsSync(file)).toBe(true);
    const lock = await acquireLock(file, options);
    expect(readHolder(file)?.pid).toBe(process.pid);
    lock.release();
    expect(readdirSync(directory)).toEqual([]);
    // The same pid, but started at another time: somebody else.
    writeFileSync(file, JSON.stringify({ ...lock.holder, id: 'old', startTime: 1 }));
    (await acquireLock(file, options)).release();
    writeFileSync(file, JSON.stringify({ ...lock.holder, id: 'older', boot: 'another boot' }));
    (await acquireLock(file, options)).release();
    writeFileSync(file, '');
    (await acquireLock(file, options)).release();
    expect(readdirSync(directory)).toEqual([]);
  });

  it('is exact while processes that hold it or take it over are killed', async () => {
    const counter = path.join(directory, 'counter');
    writeFileSync(counter, '0');
    // Each adds one under the lock, many times; some are killed meanwhile. Two in at once would lose additions or see the marker of the other.
    const workers = Array.from({ length: 4 }, () => holderProcess('count', counter, '30'));
    const victims = Array.from({ length: 3 }, () => holderProcess('churn'));
    // Listened for from the beginning: a worker may be done before the last victim has come up.
    const done = workers.map(ended);
    const dead = victims.map(ended);
    for (const victim of victims) {
      await line(victim);
      setTimeout(() => victim.kill('SIGKILL'), 100 + Math.random() * 300);
    }
    expect(await Promise.all(done)).toEqual([0, 0, 0, 0]);
    await Promise.all(dead);
    expect(readFileSync(counter, 'utf8')).toBe('120');
  }, 240_000);

  it('survives the removal of its directory while it waits', async () => {
    const nested = path.join(directory, 'pool/lock');
    const first = await acquireLock(nested, options);
    const second = acquireLock(nested, options);
    await new Promise((resolve) => setTimeout(resolve, 50));
    rmSync(path.dirname(nested), { recursive: true });
    first.release();
    (await second).release();
  });

  it('stops waiting when it is interrupted', async () => {
    const lock = await acquireLock(file, options);
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 50);
    await expect(acquireLock(file, { ...options, signal: stop.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
      exit: 130,
    });
    lock.release();
  });
});
