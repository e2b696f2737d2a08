import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine, type EngineEvent } from '../../src/engine/index.js';
import { filesystem, groupsWritable, makePlace, type Place, poolSpec, serverSpec, tenantSpec } from './harness.js';

const MIB = 1 << 20;
const health = { command: ['false'], interval: 20, timeout: 2000, retries: 2, startPeriod: 100 };

describe.skipIf(!groupsWritable())('changes, refusals and failures', () => {
  let place: Place;
  const variables = ['FAKE_MOUNT_FAIL', 'FAKE_UNMOUNT_BUSY', 'FAKE_INIT_HANG', 'DICICLO_TEST_MACHINE'];
  beforeEach(() => {
    place = makePlace();
    mkdirSync(path.join(place.directory, 'backing'));
  });
  afterEach(async () => {
    for (const name of variables) delete process.env[name];
    await place.dispose();
  });
  const backed = (name: string, mount: string) =>
    filesystem(name, path.join(place.directory, 'backing'), path.join(place.directory, mount));

  it('never admits more than the machine has, however many ask at once', async () => {
    process.env.DICICLO_TEST_MACHINE = JSON.stringify({ cpus: [0, 1], memoryBytes: 300 * MIB });
    const engine = createEngine();
    const asks = ['a', 'b', 'c', 'd'].map((name) =>
      engine.createPool('default', poolSpec(name, { reserve: { memory: 100 * MIB } })),
    );
    const results = await Promise.allSettled(asks);
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({
      reason: { code: 'ADMISSION_REFUSED', exit: 4, message: expect.stringContaining('400Mi of this machine') },
    });
    expect(await engine.listPools()).toHaveLength(3);
    await engine.deleteTenant('default');
    expect(place.leftovers()).toEqual([]);
  }, 30_000);

  it('gives whole reserved cores, and gives the rest to the others live', async () => {
    const engine = createEngine();
    const cpusOf = (pool: { cgroups: Record<string, string> }) =>
      readFileSync(`${pool.cgroups.cpuset}/cpuset.cpus`, 'utf8').trim();
    const shared = await engine.createPool('default', poolSpec('shared'));
    expect(cpusOf(shared)).toBe('0-1');
    const own = await engine.createPool('default', poolSpec('own', { reserve: { cores: 1 } }));
    expect([cpusOf(own), cpusOf(shared)]).toEqual(['1', '0']);
    await engine.destroyPool('own');
    expect(cpusOf(shared)).toBe('0-1');
    await engine.deleteTenant('default');
  });

  it('refuses a limit below what is in use, and goes on as before', async () => {
    const engine = createEngine();
    const spec = (memory: number) =>
      tenantSpec('acme', [poolSpec('db', { limit: { memory }, servers: [serverSpec('eat', ['sh', '-c', eat])] })]);
    const eat = `x=$(head -c ${64 * MIB} /dev/zero | tr '\\0' x); touch ${place.directory}/full; sleep 1000`;
    await engine.apply(spec(512 * MIB));
    await expect
      .poll(async () => (await engine.accounting('db')).memory.anonBytes, { timeout: 60_000 })
      .toBeGreaterThan(60 * MIB);
    await expect(engine.apply(spec(32 * MIB))).rejects.toMatchObject({ code: 'LIMIT_BELOW_USE', exit: 4 });
    expect((await engine.accounting('db')).memory.limitBytes).toBe(512 * MIB);
    expect(await engine.plan(spec(512 * MIB))).toEqual([]);
    await engine.deleteTenant('acme');
  }, 120_000);

  it('reports a server that does not become healthy, keeps what was made, and tries again', async () => {
    const engine = createEngine();
    const spec = tenantSpec('acme', [poolSpec('db', { servers: [serverSpec('nap', ['sleep', '1000'], { health })] })]);
    await expect(engine.apply(spec)).rejects.toMatchObject({
      code: 'SERVER_UNHEALTHY',
      exit: 9,
      options: { details: { done: [{ verb: 'create', object: 'pool' }] } },
    });
    expect(await engine.listServers('db')).toMatchObject([{ name: 'nap', state: 'running', health: 'unhealthy' }]);
    const mended = tenantSpec('acme', [
      poolSpec('db', { servers: [serverSpec('nap', ['sleep', '1000'], { health: { ...health, command: ['true'] } })] }),
    ]);
    await engine.apply(mended);
    expect(await engine.plan(mended)).toEqual([]);
    const restarted = await engine.restartServer('db', 'nap');
    expect(restarted.health).toBe('healthy');
    await expect(engine.restartServer('db', 'none')).rejects.toMatchObject({ code: 'SERVER_NOT_FOUND', exit: 3 });
    expect(await engine.serverLog('db', 'nap')).toMatch(/server-nap\.log$/);
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
  }, 30_000);

  it('reports a server that ends at once', async () => {
    const engine = createEngine();
    const spec = tenantSpec('acme', [
      poolSpec('db', { servers: [serverSpec('gone', ['sh', '-c', 'exit 3'], { health })] }),
    ]);
    await expect(engine.apply(spec)).rejects.toMatchObject({
      code: 'SERVER_FAILED',
      message: expect.stringContaining('status 3'),
    });
    await engine.deleteTenant('acme');
  });

  it('takes a mount back that the service refuses, in a single command and in create', async () => {
    const engine = createEngine();
    process.env.FAKE_MOUNT_FAIL = 'the disk is on fire';
    await expect(
      engine.createPool('default', poolSpec('db', { filesystems: [backed('data', 'm/n')] })),
    ).rejects.toThrow(/cannot mount data .* the disk is on fire/);
    expect(place.leftovers()).toEqual([]);
    await engine.createPool('default', poolSpec('db'));
    await expect(
      engine.mount('db', { ...backed('data', 'm/n'), mount: path.join(place.directory, 'm/n') }),
    ).rejects.toThrow(/the disk is on fire/);
    expect((await engine.showPool('db')).mounts).toEqual([]);
    await engine.destroyPool('db');
  });

  it('keeps a busy mount as it was, unless forced', async () => {
    process.env.FAKE_UNMOUNT_BUSY = '1';
    const engine = createEngine();
    const data = backed('data', 'mnt');
    await engine.createPool('default', poolSpec('db', { filesystems: [data] }));
    await expect(engine.unmount('db', data.mount as string)).rejects.toMatchObject({ code: 'MOUNT_BUSY', exit: 4 });
    expect(await engine.listMounts()).toMatchObject([{ instance: 'data' }]);
    await engine.unmount('db', data.mount as string, { force: true });
    expect(await engine.listMounts()).toEqual([]);
    await engine.destroyPool('db');
  });

  it('mounts outer before inner and follows a changed stack, with the servers restarted', async () => {
    const engine = createEngine();
    const other = path.join(place.directory, 'other');
    mkdirSync(other);
    const spec = (source: string) =>
      tenantSpec('acme', [
        poolSpec('db', {
          filesystems: [
            backed('inner', 'mnt/inner'),
            {
              ...backed('data', 'mnt'),
              stack: { type: 'local', options: { path: source, readOnly: false }, children: {} },
            },
          ],
          servers: [serverSpec('nap', ['sleep', '1000'])],
        }),
      ]);
    await engine.apply(spec(path.join(place.directory, 'backing')));
    const requests = () =>
      readFileSync(path.join(place.runtime, 'pools/acme/db/log/requests.log'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .filter((request) => request.op !== 'status')
        .map((request) => `${request.op} ${request.instance ?? request.name ?? path.basename(request.mountpoint)}`);
    expect(requests()).toEqual(['mount data', 'mount inner', 'server-start nap']);
    writeFileSync(path.join(place.runtime, 'pools/acme/db/log/requests.log'), '');
    const done = await engine.apply(spec(other));
    expect(done.map((action) => `${action.verb} ${action.name}`)).toEqual([
      'update acme/db/data',
      'update acme/db/inner',
      'restart acme/db/nap',
      'update acme',
    ]);
    expect(requests()).toEqual([
      'server-stop nap',
      'unmount inner',
      'unmount mnt',
      'mount data',
      'mount inner',
      'server-start nap',
    ]);
    await expect(engine.unmount('db', path.join(place.directory, 'mnt'))).rejects.toThrow(/it holds .*inner/);
    await engine.deleteTenant('acme');
    expect(place.leftovers()).toEqual([]);
  });

  it('stops between steps when it is interrupted, and ends with the time that it was given', async () => {
    const engine = createEngine();
    const stop = new AbortController();
    const events: EngineEvent[] = [];
    const spec = tenantSpec('acme', [poolSpec('db', { filesystems: [backed('data', 'mnt')] })]);
    const call = engine.apply(spec, {
      signal: stop.signal,
      events: (event) => {
        events.push(event);
        if (event.type === 'done') stop.abort();
      },
    });
    await expect(call).rejects.toMatchObject({ code: 'INTERRUPTED', exit: 130 });
    expect(events.map((event) => event.type)).toEqual(['start', 'done']);
    expect((await engine.apply(spec)).map((action) => `${action.verb} ${action.object}`)).toEqual([
      'create filesystem',
      'create tenant',
    ]);
    await engine.deleteTenant('acme');
    process.env.FAKE_INIT_HANG = '1';
    await expect(engine.createPool('default', poolSpec('db'), { timeout: 500 })).rejects.toMatchObject({ exit: 8 });
    expect(place.leftovers()).toEqual([]);
  }, 30_000);

  it('dry runs change nothing', async () => {
    const engine = createEngine();
    const spec = tenantSpec('acme', [poolSpec('db')]);
    expect((await engine.apply(spec, { dryRun: true })).map((action) => action.verb)).toEqual(['create', 'create']);
    expect((await engine.createPool('default', poolSpec('db'), { dryRun: true })).phase).toBe('creating');
    expect(place.leftovers()).toEqual([]);
    await engine.apply(spec);
    expect(await engine.deleteTenant('acme', { dryRun: true })).toHaveLength(2);
    expect((await engine.showPool('db')).phase).toBe('running');
    await engine.deleteTenant('acme');
  });
});
