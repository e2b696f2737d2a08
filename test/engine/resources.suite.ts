/**
 * What every control group backend must do, run on the versions that the machine has: v1 on a host that has v1, v2 in the guest (scripts/guest.mjs).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { killMembers, membersOf, procsFiles, ResourceManager, removeGroups } from '../../src/engine/resources/index.js';
import type { GroupLimits } from '../../src/engine/resources/types.js';
import { groupsOf, makePlace, type Place } from './harness.js';

const MIB = 1 << 20;
const PATIENCE = { timeout: 30_000, interval: 50 };

export function resourcesSuite(): void {
  let place: Place;
  let manager: ResourceManager;
  let group: string;
  const children: ChildProcess[] = [];

  beforeEach(() => {
    place = makePlace();
    manager = new ResourceManager();
    group = `${place.parent}/acme/db`;
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await place.dispose();
  });

  const limits = (some: Partial<GroupLimits> = {}): GroupLimits => ({ weight: 100, cpus: [0], pidsMax: 256, ...some });
  const make = (some: Partial<GroupLimits> = {}) => {
    manager.create(group);
    manager.limit(group, limits(some));
    return manager.directories(group);
  };
  /** Runs a shell script in the group; resolves with [code, signal]. */
  const inside = (script: string): { child: ChildProcess; end: Promise<[number | null, string | null]> } => {
    const join = procsFiles(manager.directories(group)).map((file) => `echo $$ > ${file}`);
    const child = spawn('bash', ['-c', `${join.join(' && ')} && ${script}`], { stdio: ['ignore', 'pipe', 'ignore'] });
    children.push(child);
    return { child, end: new Promise((resolve) => child.on('exit', (code, signal) => resolve([code, signal]))) };
  };

  it('makes the group in every hierarchy, twice without harm, and removes it with its empty parents', async () => {
    const directories = make();
    make();
    for (const directory of Object.values(directories)) expect(existsSync(directory)).toBe(true);
    expect(Object.keys(directories)).toEqual(expect.arrayContaining(['cpu', 'memory', 'pids', 'cpuset']));
    await removeGroups(directories, 3);
    expect(groupsOf(place.parent)).toEqual([]);
    await removeGroups(directories, 3);
  });

  it('keeps a parent that another pool uses', async () => {
    const directories = make();
    manager.create(`${place.parent}/acme/other`);
    await removeGroups(directories, 3);
    expect(existsSync(Object.values(manager.directories(`${place.parent}/acme/other`))[0] as string)).toBe(true);
  });

  it('kills a process that takes more memory than the limit, and lets a smaller one live', async () => {
    make({ memoryLimit: 48 * MIB });
    expect(manager.usage(group).memoryLimitBytes).toBe(48 * MIB);
    const [code, signal] = await inside('exec dd if=/dev/zero of=/dev/null bs=120M count=1').end;
    expect([code, signal]).toEqual([null, 'SIGKILL']);
    const [fine] = await inside('exec dd if=/dev/zero of=/dev/null bs=1M count=120').end;
    expect(fine).toBe(0);
    expect(manager.usage(group).memoryPeakBytes).toBeLessThanOrEqual(48 * MIB);
  }, 60_000);

  it('raises and lowers a memory limit live, in both directions, and back to none', () => {
    for (const memoryLimit of [64 * MIB, 256 * MIB, 32 * MIB, undefined, 64 * MIB]) {
      manager.create(group);
      manager.limit(group, limits({ memoryLimit }));
      expect(manager.usage(group).memoryLimitBytes).toBe(memoryLimit ?? null);
    }
  });

  it('tells what memory cannot be given back', async () => {
    make({ memoryLimit: 128 * MIB });
    // The shell keeps 24 MiB of text in a variable; sleep is not its last command, or it would become it.
    const { child } = inside(`x=$(head -c ${24 * MIB} /dev/zero | tr '\\0' x); echo ready; sleep 100; :`);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    await vi.waitFor(() => expect(manager.unreclaimable(group)).toBeGreaterThan(20 * MIB), PATIENCE);
  }, 60_000);

  it('holds a busy process to the quota of cores', async () => {
    make({ coresLimit: 0.2 });
    inside('while :; do :; done');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = manager.usage(group);
    const started = process.hrtime.bigint();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const after = manager.usage(group);
    const elapsed = Number(process.hrtime.bigint() - started) / 1e9;
    const cores = (after.cpuSeconds - before.cpuSeconds) / elapsed;
    expect(cores).toBeLessThan(0.3);
    expect(cores).toBeGreaterThan(0.05);
    expect(after.throttledSeconds).toBeGreaterThan(0);
  }, 60_000);

  it('sets no quota that the CPUs of the group hold it to already', () => {
    const quota = () => {
      const { cpu } = manager.directories(group);
      const file = existsSync(path.join(cpu as string, 'cpu.max')) ? 'cpu.max' : 'cpu.cfs_quota_us';
      return readFileSync(path.join(cpu as string, file), 'utf8')
        .trim()
        .split(' ')[0];
    };
    make({ cpus: [0, 1], coresLimit: 2 });
    expect(quota()).toMatch(/^(max|-1)$/);
    manager.limit(group, limits({ cpus: [0, 1], coresLimit: 1.5 }));
    expect(Number(quota())).toBe(60_000);
    manager.limit(group, limits({ cpus: [1], coresLimit: 1.5 }));
    expect(quota()).toMatch(/^(max|-1)$/);
  });

  it('keeps processes on the CPUs of the group', async () => {
    make({ cpus: [1] });
    const { child } = inside('grep Cpus_allowed_list /proc/self/status; sleep 100');
    const text = await new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve));
    expect(String(text).split(/\s+/)[1]).toBe('1');
    manager.limit(group, limits({ cpus: [0, 1] }));
    expect(readFileSync(`/proc/${child.pid}/status`, 'utf8')).toMatch(/Cpus_allowed_list:\s+0-1/);
  });

  it('limits the number of processes', async () => {
    make({ pidsMax: 8 });
    inside('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 50 & done; wait');
    // The shell tries again for a while when fork is refused.
    await expect.poll(() => manager.usage(group).processes, { timeout: 20_000 }).toBe(8);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(manager.usage(group).processes).toBe(8);
  }, 60_000);

  it('gives weights that follow the reserved cores, to the groups above as well', () => {
    const directory = make({ coresReserve: 2 }).cpu as string;
    manager.limitInner(place.parent, { cpuWeight: 250, memoryReserve: 16 * MIB });
    const v1 = existsSync(`${directory}/cpu.shares`);
    const read = (file: string) => Number(readFileSync(file, 'utf8'));
    expect(v1 ? read(`${directory}/cpu.shares`) : read(`${directory}/cpu.weight`)).toBe(v1 ? 2048 : 200);
    const top = manager.directories(place.parent).cpu as string;
    expect(v1 ? read(`${top}/cpu.shares`) : read(`${top}/cpu.weight`)).toBe(v1 ? 2560 : 250);
  });

  it('protects reserved memory as the version can', () => {
    const directory = make({ memoryReserve: 32 * MIB }).memory as string;
    const file = existsSync(`${directory}/memory.min`) ? 'memory.min' : 'memory.soft_limit_in_bytes';
    expect(Number(readFileSync(`${directory}/${file}`, 'utf8'))).toBe(32 * MIB);
  });

  it('kills everything in the group, those that fork meanwhile included', async () => {
    const directories = make();
    const { end } = inside('while :; do sleep 100 & sleep 0.02; done');
    await vi.waitFor(() => expect(membersOf(directories).length).toBeGreaterThan(1), PATIENCE);
    await killMembers(manager.backends, group, directories);
    expect(membersOf(directories)).toEqual([]);
    await end;
    await removeGroups(directories, 3);
    expect(groupsOf(place.parent)).toEqual([]);
  }, 60_000);

  it('accounts what was used', async () => {
    make();
    await inside('i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done').end;
    const usage = manager.usage(group);
    expect(usage.cpuSeconds).toBeGreaterThan(0.01);
    expect(usage.memoryPeakBytes).toBeGreaterThan(0);
    expect(usage.processes).toBe(0);
  }, 60_000);

  it('names the file when the kernel refuses a value', () => {
    const directory = make().cpu as string;
    expect(() => manager.limit(group, limits({ cpus: [9999] }))).toThrow(/cpuset\.cpus/);
    expect(() => writeFileSync(`${directory}/nothing-like-this`, '1')).toThrow();
  });
}
