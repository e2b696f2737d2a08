import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine, type EngineEvent } from '../../src/engine/index.js';
import { filesystem, groupsWritable, makePlace, type Place, poolSpec, serverSpec, tenantSpec } from './harness.js';

describe.skipIf(!groupsWritable())('pools against a stand-in for pool-init', () => {
  let place: Place;
  beforeEach(() => {
    place = makePlace();
  });
  afterEach(async () => {
    await place.dispose();
  });

  it('creates, lists, shows and destroys a pool, and leaves nothing', async () => {
    const engine = createEngine();
    const pool = await engine.createPool('default', poolSpec('db', { reserve: { cores: 0.5, memory: 64 << 20 } }));
    expect(pool).toMatchObject({ name: 'default/db', phase: 'running', service: { state: 'running' } });
    expect(pool.cgroups.memory).toContain(`/${place.parent}/default/db`);
    expect(readFileSync(`${pool.cgroups.memory}/cgroup.procs`, 'utf8').split('\n')).toContain(
      String(pool.service?.pid),
    );
    expect((await engine.listPools()).map((each) => each.name)).toEqual(['default/db']);
    expect((await engine.showPool('db')).init?.pid).toBe(pool.init?.pid);
    await expect(engine.createPool('default', poolSpec('db'))).rejects.toMatchObject({ code: 'POOL_EXISTS', exit: 4 });
    await engine.destroyPool('db');
    expect(await engine.listPools()).toEqual([]);
    expect(place.leftovers()).toEqual([]);
    await expect(engine.destroyPool('db')).rejects.toMatchObject({ code: 'POOL_NOT_FOUND', exit: 3 });
  });

  it('mounts, refuses a taken place, unmounts, and removes the directories it made', async () => {
    const engine = createEngine();
    await engine.createPool('default', poolSpec('db'));
    const backing = path.join(place.directory, 'backing');
    mkdirSync(backing);
    const mountpoint = path.join(place.directory, 'a/b');
    const mount = await engine.mount('db', { ...filesystem('data', backing), mount: mountpoint });
    expect(mount).toMatchObject({ instance: 'data', mountpoint, stack: 'local', device: '0:99' });
    await expect(engine.mount('db', { ...filesystem('other', backing), mount: mountpoint })).rejects.toMatchObject({
      code: 'MOUNTPOINT_IN_USE',
      exit: 4,
    });
    await expect(engine.mount('db', { ...filesystem('data', backing), mount: '/x' })).rejects.toMatchObject({
      code: 'FILESYSTEM_EXISTS',
      exit: 4,
    });
    await expect(engine.mount('db', { ...filesystem('bad', '/no/such/directory'), mount: '/x' })).rejects.toMatchObject(
      { code: 'HOST_NOT_READY' },
    );
    await engine.unmount('db', `${mountpoint}/`);
    expect(existsSync(path.dirname(mountpoint))).toBe(false);
    await expect(engine.unmount('db', mountpoint)).rejects.toMatchObject({ code: 'MOUNT_NOT_FOUND', exit: 3 });
    await engine.destroyPool('db');
    expect(place.leftovers()).toEqual([]);
  });

  it('passes the exit status of a command through, charged to the pool', async () => {
    const engine = createEngine();
    const pool = await engine.createPool('default', poolSpec('db'));
    const output = path.join(place.directory, 'out');
    expect(await engine.run('db', ['sh', '-c', `cat /proc/self/cgroup > ${output}; exit 7`], { door: 'kernel' })).toBe(
      7,
    );
    expect(readFileSync(output, 'utf8')).toContain(`/${place.parent}/default/db`);
    expect(await engine.run('db', ['/no/such/program'], { door: 'kernel' })).toBe(127);
    const used = await engine.accounting('db');
    expect(used.cpu.seconds).toBeGreaterThan(0);
    expect(used.service?.residentBytes).toBeGreaterThan(0);
    expect(pool.name).toBe(used.pool);
    await engine.destroyPool('db');
  });

  it('refuses a start that fails and takes it back', async () => {
    process.env.FAKE_INIT_FAIL = 'no huge pages on this machine';
    try {
      await expect(createEngine().createPool('default', poolSpec('db'))).rejects.toMatchObject({
        code: 'POOL_START_FAILED',
        message: expect.stringContaining('no huge pages'),
      });
    } finally {
      delete process.env.FAKE_INIT_FAIL;
    }
    expect(place.leftovers()).toEqual([]);
  });

  it('applies a spec, changes nothing the second time, follows changes, deletes', async () => {
    const engine = createEngine();
    const backing = path.join(place.directory, 'backing');
    mkdirSync(backing);
    const mountpoint = path.join(place.directory, 'mnt');
    const make = (memory: number, command: string[]) =>
      tenantSpec('acme', [
        poolSpec('db', {
          limit: { memory },
          filesystems: [filesystem('data', backing, mountpoint)],
          servers: [
            serverSpec('nap', command, {
              health: { command: ['true'], interval: 100, timeout: 2000, retries: 3, startPeriod: 500 },
            }),
          ],
        }),
      ]);
    const events: EngineEvent[] = [];
    const first = make(128 << 20, ['sleep', '1000']);
    expect((await engine.plan(first)).map((action) => `${action.verb} ${action.object}`)).toEqual([
      'create pool',
      'create filesystem',
      'create server',
      'create tenant',
    ]);
    const done = await engine.apply(first, { events: (event) => events.push(event) });
    expect(done.length).toBe(4);
    expect(events.filter((event) => event.type === 'done').map((event) => event.step)).toEqual([
      'pool/acme/db',
      'filesystem/acme/db/data',
      'server/acme/db/nap',
    ]);
    expect(await engine.apply(first)).toEqual([]);
    const before = await engine.showPool('acme/db');
    expect(before.servers[0]).toMatchObject({ name: 'nap', state: 'running', health: 'healthy' });

    const second = make(256 << 20, ['sleep', '2000']);
    const changes = await engine.apply(second);
    expect(changes.map((action) => `${action.verb} ${action.object}: ${action.reasons.join()}`)).toEqual([
      'update pool: limit.memory 128Mi -> 256Mi',
      'update server: command changed',
      'update tenant: its pools change',
    ]);
    const after = await engine.showPool('acme/db');
    expect(after.init).toEqual(before.init);
    expect(after.servers[0]?.command).toEqual(['sleep', '2000']);
    expect(await engine.apply(second)).toEqual([]);
    expect(await engine.listTenants()).toMatchObject([{ name: 'acme', pools: ['db'] }]);

    expect((await engine.deleteTenant('acme')).map((action) => action.object)).toEqual(['pool', 'tenant']);
    expect(await engine.deleteTenant('acme')).toEqual([]);
    expect(place.leftovers()).toEqual([]);
    expect(existsSync(mountpoint)).toBe(false);
  });

  it('shows a pool whose first process was killed as dead, and apply brings it back', async () => {
    const engine = createEngine();
    const spec = tenantSpec('acme', [poolSpec('db', { servers: [serverSpec('nap', ['sleep', '1000'])] })]);
    await engine.apply(spec);
    const { init } = await engine.showPool('db');
    process.kill(init?.pid as number, 'SIGKILL');
    await expect.poll(async () => (await engine.showPool('db')).phase).toBe('dead');
    await expect(engine.run('db', ['true'], { door: 'kernel' })).rejects.toMatchObject({
      code: 'POOL_NOT_RUNNING',
      exit: 3,
    });
    expect((await engine.apply(spec)).map((action) => `${action.verb} ${action.object}`)).toEqual([
      'restart pool',
      'create server',
      'update tenant',
    ]);
    expect((await engine.showPool('db')).phase).toBe('running');
    process.kill((await engine.showPool('db')).init?.pid as number, 'SIGKILL');
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
  });

  it('says which file is damaged, and destroy still works', async () => {
    const engine = createEngine();
    const pool = await engine.createPool('default', poolSpec('db'));
    const file = path.join(pool.directory, 'pool.json');
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, 40));
    await expect(engine.run('db', ['true'], { door: 'kernel' })).rejects.toMatchObject({
      code: 'STATE_CORRUPT',
      message: expect.stringContaining(file),
    });
    expect((await engine.listPools())[0]?.phase).toBe('broken');
    await engine.destroyPool('db');
    expect(place.leftovers()).toEqual([]);
  });

  it('resolves bare names only where they are unique', async () => {
    const engine = createEngine();
    await engine.createPool('a', poolSpec('db'));
    await engine.createPool('b', poolSpec('db'));
    await expect(engine.showPool('db')).rejects.toMatchObject({ code: 'POOL_AMBIGUOUS', hints: ['a/db', 'b/db'] });
    expect((await engine.showPool('b/db')).tenant).toBe('b');
    await engine.deleteTenant('a');
    await engine.deleteTenant('b');
    expect(place.leftovers()).toEqual([]);
  });
});
