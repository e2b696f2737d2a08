/**
 * A pool that does nothing: `npm run bench -- idle [--idle-seconds N]`. Memory of its processes with one filesystem without a cache; then 32 mounted filesystems and the CPU time of all of the pool.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../scripts/shared.mjs';
import { goal, table } from './report.mjs';
import { compile, poolCpuNs, poolPids } from './stage.mjs';

const INSTANCES = 32;

function memoryOf(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)[1]);
  return { name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim(), rssKiB: kib('Rss'), pssKiB: kib('Pss') };
}

function specOf(stage, name) {
  const filesystems = Array.from({ length: INSTANCES }, (_, i) => ({
    name: `fs-${i}`,
    mount: stage.at(`idle/mount-${i}`),
    stack: [{ cache: { size: '1Mi' } }, { local: { path: stage.at(`idle/behind-${i}`) } }],
  }));
  const pool = { name, reserve: { cores: 0.25, memory: '256Mi' }, filesystems };
  const file = path.join(stage.work, 'idle.json');
  writeFileSync(
    file,
    JSON.stringify({ apiVersion: 'diciclo/v1', kind: 'Tenant', metadata: { name: 'bench' }, spec: { pools: [pool] } }),
  );
  return file;
}

export async function measure({ stage, options }) {
  const seconds = options.idleSeconds;
  stage.pool('bench-memory', '--cores', '0.25', '--memory', '256Mi');
  stage.mount('bench-memory', stage.at('memory'), `[local: {path: ${stage.at('memory-behind')}}]`);
  await sleep(1000);
  const processes = poolPids(stage.show('bench-memory')).map(memoryOf);
  stage.destroy('bench-memory');

  stage.later(() => stage.destroy('bench/bench-idle'));
  stage.diciclo('pool', 'create', 'bench-idle', '-f', specOf(stage, 'bench-idle'));
  const pool = stage.show('bench/bench-idle');
  // One process that has used a filesystem and now does nothing, as most do most of the time.
  const agent = await stage.agent('bench/bench-idle', 'library', [compile('io-bench'), stage.at('idle/mount-0')]);
  say(`bench: idle: ${INSTANCES} filesystems, ${seconds} s`);
  await sleep(3000);
  const before = poolCpuNs(pool);
  await sleep(seconds * 1000);
  const share = (poolCpuNs(pool) - before) / (seconds * 1e9);
  await agent.end();
  stage.destroy('bench/bench-idle');
  return { processes, idle: { instances: INSTANCES, seconds, coreShare: share } };
}

const sum = (list, key) => list.reduce((total, one) => total + one[key], 0) / 1024;

export function report({ processes, idle }) {
  const rows = [
    ['', 'RSS, MiB', 'PSS, MiB'],
    ...processes.map((one) => [one.name, (one.rssKiB / 1024).toFixed(2), (one.pssKiB / 1024).toFixed(2)]),
  ];
  rows.push(['together', sum(processes, 'rssKiB').toFixed(2), sum(processes, 'pssKiB').toFixed(2)]);
  return `${table('idle: memory of a pool with one filesystem and no cache', rows)}\nidle: ${idle.instances} filesystems over ${idle.seconds} s: ${(idle.coreShare * 100).toFixed(4)} % of a core\n`;
}

export function goals({ processes, idle }) {
  return [
    goal('memory of an idle pool (RSS)', sum(processes, 'rssKiB'), { most: 24, unit: 'MiB' }),
    goal(`idle, ${idle.instances} filesystems`, idle.coreShare * 100, { most: 0.5, unit: '% of a core' }),
  ];
}
