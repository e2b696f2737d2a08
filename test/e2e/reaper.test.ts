/** What a killed test run leaves is taken away by the next one, and nothing that a living one has (test/reaper.py). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { until } from './harness.js';

const SCRIPT = path.resolve(import.meta.dirname, '../reaper.py');

test('a directory whose reaper was killed too goes with the next reaper; others stay', async () => {
  const top = mkdtempSync(path.join(os.tmpdir(), 'dct-reaper-'));
  const [killed, alive, fresh, next] = ['a', 'b', 'c', 'd'].map((name) => path.join(top, `diciclo-e2e-${name}`)) as [
    string,
    string,
    string,
    string,
  ];
  const start = async (work: string) => {
    const reaper = spawn('python3', [SCRIPT, work], { stdio: ['pipe', 'ignore', 'inherit'] });
    await until(`a reaper holds ${work}`, 10, async () => existsSync(path.join(work, '.reaper')));
    return reaper;
  };
  try {
    for (const work of [killed, alive, fresh, next]) mkdirSync(work);
    const reapers = [await start(killed), await start(alive)];
    reapers[0]?.kill('SIGKILL');
    await once(reapers[0] as NodeJS.EventEmitter, 'exit');
    reapers.push(await start(next));
    await until('the abandoned one is gone', 10, async () => !existsSync(killed));
    expect([alive, fresh, next].filter(existsSync)).toEqual([alive, fresh, next]);
    for (const reaper of reapers.slice(1)) {
      reaper.stdin?.end();
      await once(reaper, 'exit');
    }
    expect([alive, fresh, next].filter(existsSync)).toEqual([fresh]);
  } finally {
    rmSync(top, { recursive: true, force: true });
  }
});
