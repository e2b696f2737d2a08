/**
 * A process that uses a lock, for lock.test.ts: `hold` takes it and stays, `churn` takes and leaves it for ever, `count FILE N` adds one to the number in
 * FILE N times under it and fails when it finds that another was in at the same time.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { acquireLock, withLock } from '../../../src/engine/lock.js';

const [file = '', mode = '', counter = '', times = '0'] = process.argv.slice(2);
const options = { subject: 'lock', what: `${mode} it`, timeout: 50_000 };

async function add(): Promise<void> {
  const marker = `${counter}.inside`;
  writeFileSync(marker, '', { flag: 'wx' });
  const value = Number(readFileSync(counter, 'utf8'));
  await sleep(1);
  writeFileSync(counter, String(value + 1));
  rmSync(marker);
}

async function main(): Promise<void> {
  if (mode === 'hold') {
    await acquireLock(file, options);
    process.stdout.write(`${process.pid}\n`);
    await sleep(100_000);
  }
  if (mode === 'churn') {
    process.stdout.write(`${process.pid}\n`);
    for (;;) await withLock(file, options, () => sleep(1));
  }
  for (let round = 0; round < Number(times); round++) await withLock(file, options, add);
}

void main();
