import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import {
  checkout,
  filesystem,
  groupsWritable,
  here,
  isRoot,
  makePlace,
  type Place,
  poolSpec,
  realBuildExists,
  serverSpec,
  tenantSpec,
} from './harness.js';

const possible = groupsWritable() && isRoot && realBuildExists && existsSync('/dev/fuse');

describe.skipIf(!possible)('pools with the native programs', () => {
  let place: Place;
  let backing: string;
  let mountpoint: string;
  beforeEach(() => {
    place = makePlace('real');
    backing = path.join(place.directory, 'backing');
    mountpoint = path.join(place.directory, 'made/mnt');
    mkdirSync(backing);
  });
  afterEach(async () => {
    await createEngine()
      .deleteTenant('acme')
      .catch(() => undefined);
    await place.dispose();
  });
  const data = (host = false) => ({ ...filesystem('data', backing, mountpoint), host });
  const spec = (host = false) => tenantSpec('acme', [poolSpec('db', { filesystems: [data(host)] })]);
  const hostMounts = () =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(place.directory));
  const shell = (script: string, door: 'library' | 'kernel' = 'kernel') =>
    createEngine().run('db', ['sh', '-c', script], { door });

  it('mounts for the pool alone, through the kernel door, and takes all of it away', async () => {
    const engine = createEngine();
    await engine.apply(spec());
    expect(await engine.apply(spec())).toEqual([]);
    expect(await shell(`echo hello > ${mountpoint}/f && test "$(cat ${mountpoint}/f)" = hello`)).toBe(0);
    expect(readFileSync(path.join(backing, 'f'), 'utf8')).toBe('hello\n');
    expect(readdirSync(mountpoint)).toEqual([]);
    expect(hostMounts()).toEqual([]);
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
    expect(existsSync(path.dirname(mountpoint))).toBe(false);
    expect(readdirSync(backing)).toEqual(['f']);
  }, 60_000);

  it('shows a mount on the host when told to, and takes it away when told not to', async () => {
    const engine = createEngine();
    await engine.apply(spec(true));
    await shell(`echo there > ${mountpoint}/f`);
    expect(readFileSync(path.join(mountpoint, 'f'), 'utf8')).toBe('there\n');
    expect((await engine.apply(spec(false)))[0]?.reasons).toEqual(['host true -> false']);
    expect(hostMounts()).toEqual([]);
    await engine.apply(spec(true));
    expect(hostMounts()).toHaveLength(1);
    await engine.deleteTenant('acme');
    expect(hostMounts()).toEqual([]);
    expect(existsSync(path.dirname(mountpoint))).toBe(false);
  }, 60_000);

  it('charges everything to the pool and names the service as the host sees it', async () => {
    const engine = createEngine();
    await engine.apply(spec());
    const pool = await engine.showPool('db');
    const procs = readFileSync(`${pool.cgroups.memory}/cgroup.procs`, 'utf8').split('\n').map(Number);
    expect(procs).toEqual(expect.arrayContaining([pool.init?.pid, pool.service?.pid]));
    expect(execFileSync('cat', [`/proc/${pool.service?.pid}/comm`], { encoding: 'utf8' })).toMatch(/^diciclo-servic/);
    const before = (await engine.accounting('db')).cpu.seconds;
    await shell('i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done');
    expect((await engine.accounting('db')).cpu.seconds).toBeGreaterThan(before + 0.02);
  }, 60_000);

  it('passes exit status, working directory, environment and signals through', async () => {
    const engine = createEngine();
    await engine.apply(spec());
    const out = path.join(place.directory, 'out');
    const status = await engine.run('db', ['sh', '-c', `echo "$PWD $ANSWER" > ${out}; exit 7`], {
      door: 'kernel',
      cwd: backing,
      env: { ANSWER: '42' },
    });
    expect([status, readFileSync(out, 'utf8')]).toEqual([7, `${backing} 42\n`]);
    expect(await engine.run('db', ['/no/such'], { door: 'kernel' })).toBe(127);
    expect(await engine.run('db', [backing], { door: 'kernel' })).toBe(126);
    expect(await shell('kill -SEGV $$')).toBe(139);
    const argv = [
      '--import',
      'tsx',
      path.join(here, 'fakes/engine-run.ts'),
      'db',
      `trap 'echo term > ${out}; exit 9' TERM; echo ready; sleep 20 & wait`,
    ];
    const child = spawn(process.execPath, argv, { cwd: checkout, stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGTERM');
    expect(await new Promise((resolve) => child.on('exit', resolve))).toBe(9);
    expect(readFileSync(out, 'utf8')).toBe('term\n');
  }, 60_000);

  it('comes back after the service was killed, and is found dead when pool-init was', async () => {
    const engine = createEngine();
    await engine.apply(spec(true));
    await shell(`echo kept > ${mountpoint}/f; sync ${mountpoint}/f`);
    const before = await engine.showPool('db');
    process.kill(before.service?.pid as number, 'SIGKILL');
    await expect
      .poll(async () => (await engine.showPool('db')).service?.epoch, { timeout: 5000 })
      .toBe((before.service?.epoch ?? 0) + 1);
    expect(await shell(`grep kept ${mountpoint}/f > /dev/null`)).toBe(0);
    process.kill(before.init?.pid as number, 'SIGKILL');
    await expect.poll(async () => (await engine.showPool('db')).phase, { timeout: 5000 }).toBe('dead');
    expect((await engine.apply(spec(true)))[0]).toMatchObject({ verb: 'restart', object: 'pool' });
    expect(readFileSync(path.join(mountpoint, 'f'), 'utf8')).toBe('kept\n');
    process.kill((await engine.showPool('db')).init?.pid as number, 'SIGKILL');
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
    expect(hostMounts()).toEqual([]);
  }, 60_000);

  it('refuses to unmount what is open, unless forced', async () => {
    const engine = createEngine();
    await engine.apply(spec());
    const child = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        path.join(here, 'fakes/engine-run.ts'),
        'db',
        `exec 3> ${mountpoint}/open; echo ready; sleep 20`,
      ],
      {
        cwd: checkout,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(engine.unmount('db', mountpoint)).rejects.toMatchObject({ code: 'MOUNT_BUSY', exit: 4 });
    expect(await engine.listMounts()).toHaveLength(1);
    await engine.unmount('db', mountpoint, { force: true });
    expect(await engine.listMounts()).toEqual([]);
    child.kill('SIGTERM');
    await new Promise((resolve) => child.on('exit', resolve));
  }, 60_000);

  it('runs a server on a filesystem, health-checked from inside', async () => {
    const engine = createEngine();
    const script = `echo up > ${mountpoint}/up; exec sleep 1000`;
    const health = {
      command: ['test', '-f', `${mountpoint}/up`],
      interval: 50,
      timeout: 2000,
      retries: 20,
      startPeriod: 2000,
    };
    const served = tenantSpec('acme', [
      poolSpec('db', { filesystems: [data()], servers: [serverSpec('up', ['sh', '-c', script], { health })] }),
    ]);
    await engine.apply(served);
    expect(await engine.apply(served)).toEqual([]);
    const [before] = await engine.listServers('db');
    expect(before).toMatchObject({ name: 'up', state: 'running', health: 'healthy' });
    const after = await engine.restartServer('db', 'up');
    expect(after).toMatchObject({ state: 'running', health: 'healthy' });
    expect(after.pid).not.toBe(before?.pid);
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
  }, 60_000);

  it('says why a start fails: too little memory for the service', async () => {
    writeFileSync(path.join(place.directory, 'x'), '');
    const small = poolSpec('db', { limit: { memory: 16 << 20 } });
    const made = await createEngine()
      .createPool('acme', small)
      .then(
        () => 'started',
        (error: { code: string }) => error.code,
      );
    expect(['started', 'POOL_START_FAILED']).toContain(made);
    if (made !== 'started') expect(place.leftovers()).toEqual([]);
  }, 60_000);
});
