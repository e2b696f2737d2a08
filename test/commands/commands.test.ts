import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { queueRates, queueView } from '../../src/cli/service-views.js';
import Tune from '../../src/commands/tune.js';
import { type CallOptions, DicicloError, type TenantSpec } from '../../src/engine/types.js';
import { copyProfile, FakeEngine } from './fake-engine.js';
import { checkout, invoke } from './harness.js';

const demo = path.join(checkout, 'templates/demo.yaml');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'diciclo-commands-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('answers', () => {
  it('prints tables, wide tables, YAML, names and JSON', async () => {
    expect((await invoke('pool:list')).stdout).toMatch(/^POOL {5}PHASE/);
    expect((await invoke('pool:list', ['-o', 'wide'])).stdout).toContain('/run/diciclo/pools/acme/db');
    expect((await invoke('pool:list', ['-o', 'name'])).stdout).toBe('acme/db\n');
    expect(parse((await invoke('pool:list', ['-o', 'yaml'])).stdout)[0].name).toBe('acme/db');
    const json = await invoke('pool:list', ['-o', 'json']);
    expect(JSON.parse(json.stdout)).toEqual(JSON.parse((await invoke('pool:list', ['--json'])).stdout));
  });

  it('says so when there is nothing', async () => {
    const engine = new FakeEngine();
    engine.pools = [];
    expect((await invoke('pool:list', [], engine)).stdout).toBe('There are no pools.\n');
    expect((await invoke('pool:list', ['--json'], engine)).stdout).toBe('[]\n');
  });

  it('shows the service and the control groups of a pool', async () => {
    const shown = JSON.parse((await invoke('pool:show', ['db', '--json'])).stdout);
    expect(shown.service.pid).toBe(101);
    expect(shown.cgroups.memory).toBe('/sys/fs/cgroup/diciclo/acme/db');
    expect((await invoke('pool:show', ['db'])).stdout).toMatch(/service: +running, pid 101, 0 restarts/);
  });

  it('shows statistics of one pool as an object, of all as a list', async () => {
    expect(JSON.parse((await invoke('stats', ['db', '--json'])).stdout)).toMatchObject({ pool: 'acme/db', epoch: 1 });
    expect(JSON.parse((await invoke('stats', ['--json'])).stdout)).toMatchObject([{ pool: 'acme/db' }]);
    expect((await invoke('stats', ['db'])).stdout).toMatch(/library +read +2 +0 +8Ki +300/);
    expect((await invoke('stats', ['db'])).stdout).toMatch(/copies by: +toShared <=256Ki avx2x4\n/);
  });

  it('tunes, and shows what was chosen', async () => {
    const tune = Tune.tune;
    const modes: string[] = [];
    Tune.tune = async (mode) => {
      modes.push(mode);
      return mode === 'reset' ? { path: '/p', state: 'none', rows: [] } : copyProfile;
    };
    try {
      expect((await invoke('tune')).stdout).toMatch(
        /state: +stored[\s\S]*toShared +<=256Ki +avx2x4 +12\.00 +10\.00 +1\.20\ntoShared +larger +libc +9\.00/,
      );
      await invoke('tune', ['--dry-run']);
      await invoke('tune', ['--show']);
      expect((await invoke('tune', ['--reset'])).stdout).toMatch(/profile: \/p\nstate: +there is none/);
      expect(modes).toEqual(['measure', 'dry-run', 'show', 'reset']);
      expect((await invoke('tune', ['--show', '--reset'])).exit).toBe(2);
    } finally {
      Tune.tune = tune;
    }
  });

  it('shows the layers of a stack from the top down', async () => {
    const { stdout } = await invoke('stack:show', ['db', '/data']);
    expect(stdout).toMatch(/cache \(data\.0\) size=67108864[\s\S]*below: local \(data\.1\) path=\/srv\/x/);
  });

  it('shows how a queue is waited for, and with --watch at which rate', async () => {
    expect((await invoke('queue:show', ['db'])).stdout).toMatch(
      /transport: +queue[\s\S]*sleeps: +2[\s\S]*ID +CPU +STATE/,
    );
    const before = { dequeued: 10, waits: 5, sleeps: 7, depth: 3 };
    expect(queueRates(before, { dequeued: 30, waits: 4, sleeps: 7, depth: 9 }, 2)).toEqual({
      dequeued: 10,
      waits: 2,
      sleeps: 0,
    });
    expect(queueView.text({ dequeued: 30, perSecond: { dequeued: 10 }, workers: [] }, false)).toBe(
      'dequeued: 30 (10/s)\n',
    );
  });

  it('prints the end of a server log', async () => {
    const engine = new FakeEngine();
    engine.log = path.join(folder, 'server.log');
    writeFileSync(engine.log, 'one\ntwo\nthree\n');
    expect((await invoke('server:logs', ['db', 'redis', '-n', '2'], engine)).stdout).toBe('two\nthree\n');
    const json = JSON.parse((await invoke('server:logs', ['db', 'redis', '--json'], engine)).stdout);
    expect(json.lines).toEqual(['one', 'two', 'three']);
  });

  it('prints the schema that is published', async () => {
    const published = readFileSync(path.join(checkout, 'schemas/v1/tenant.json'), 'utf8');
    expect((await invoke('schema:tenant')).stdout).toBe(published);
  });

  it('says what a libservice takes, and names the one that was meant', async () => {
    expect((await invoke('libservice:show', ['cache'])).stdout).toMatch(/size +size +64Mi/);
    const unknown = await invoke('libservice:show', ['cahce']);
    expect(unknown).toMatchObject({ exit: 3 });
    expect(unknown.stderr).toContain('did you mean "cache"?');
    expect((await invoke('libservice:show', ['cephfs'])).stderr).toContain('is not part of this version');
  });
});

describe('pool create', () => {
  it('reserves and limits what it was told, in the tenant default', async () => {
    const { engine, stdout } = await invoke('pool:create', ['db', '--cores', '1.5', '--memory', '512Mi']);
    const [, tenant, spec] = engine.calls[0] as [string, string, object];
    expect(tenant).toBe('default');
    const amount = { cores: 1.5, memory: 512 * 1024 ** 2 };
    expect(spec).toMatchObject({ name: 'db', reserve: amount, limit: amount, weight: 100, filesystems: [] });
    expect(stdout).toBe('Pool default/db is running.\n');
  });

  it('takes the pool of a spec, and its tenant', async () => {
    const { engine } = await invoke('pool:create', ['db', '-f', demo]);
    const [, tenant, spec] = engine.calls[0] as [string, string, { filesystems: { name: string }[] }];
    expect(tenant).toBe('demo');
    expect(spec.filesystems[0]?.name).toBe('data');
  });

  it('passes on time limit and dry run', async () => {
    const { engine } = await invoke('pool:create', ['db', '--timeout', '30s', '--dry-run']);
    expect(engine.calls[0]?.[3]).toMatchObject({ timeout: 30_000, dryRun: true });
  });

  it.each([
    [['db', '--memory', 'lots'], '--memory must be a size'],
    [['db', '--cores', '0'], '--cores must be a number of cores'],
    [['Db_'], 'is no name of a pool'],
    [['db', '--tenant', '../x'], 'is no name of a tenant'],
    [['db', '--timeout', '10'], '--timeout must be a time'],
    [[], 'NAME is missing'],
    [['db', 'more'], 'one too many'],
    [['db', '--coers', '2'], 'did you mean --cores?'],
  ])('refuses %j', async (argv, message) => {
    const outcome = await invoke('pool:create', argv);
    expect(outcome.exit).toBe(2);
    expect(outcome.stderr).toContain(message);
    expect(outcome.stderr).not.toMatch(/Parsing|more help/);
    expect(outcome.stderr.split('\n').length).toBeLessThan(5);
    expect(outcome.engine.calls).toEqual([]);
    const json = await invoke('pool:create', [...argv, '--json']);
    expect(json.exit).toBe(2);
    expect(json.stderr).toBe('');
    const { error } = JSON.parse(json.stdout);
    expect(error).toMatchObject({ code: 'USAGE', exit: 2, hints: expect.any(Array) });
    expect(json.stdout.length).toBeLessThan(600);
  });
});

describe('apply, plan and delete', () => {
  it('shows progress on stderr and what was done on stdout', async () => {
    const { stdout, stderr } = await invoke('apply', ['-f', demo]);
    expect(stdout).toBe('+ create pool acme/db (not there)\nTenant demo is as the spec says.\n');
    expect(stderr).toBe('done: start pool acme/db\n');
    expect((await invoke('apply', ['-f', demo, '--json'])).stderr).toBe('');
    const quiet = await invoke('apply', ['-f', demo, '-q']);
    expect(quiet.stdout + quiet.stderr).toBe('');
  });

  it('says that there is nothing to do', async () => {
    const engine = new FakeEngine();
    engine.actions = [];
    expect((await invoke('apply', ['-f', demo], engine)).stdout).toBe('Tenant demo: nothing to do.\n');
    expect(JSON.parse((await invoke('apply', ['-f', demo, '--json'], engine)).stdout)).toEqual({
      tenant: 'demo',
      changed: false,
      actions: [],
    });
  });

  it('plans without changing anything', async () => {
    for (const [id, argv] of [
      ['plan', []],
      ['apply', ['--dry-run']],
    ] as const) {
      const { engine } = await invoke(id, ['-f', demo, ...argv]);
      expect(engine.calls.map(([name]) => name)).toEqual(['plan']);
    }
  });

  it('leaves with 5 for differences only when asked', async () => {
    expect((await invoke('plan', ['-f', demo])).exit).toBe(0);
    expect((await invoke('plan', ['-f', demo, '--exit-code'])).exit).toBe(5);
    expect((await invoke('plan', ['-f', demo, '--exit-code', '--json'])).exit).toBe(5);
    const engine = new FakeEngine();
    engine.actions = [];
    expect((await invoke('plan', ['-f', demo, '--exit-code'], engine)).exit).toBe(0);
  });

  it('takes a spec in hand for a yes', async () => {
    const { engine, exit } = await invoke('delete', ['-f', demo]);
    expect(exit).toBe(0);
    expect(engine.calls.map(([name]) => name)).toContain('deleteTenant');
  });

  it('asks before removing by name, and needs --yes without a terminal', async () => {
    for (const [id, argv] of [
      ['delete', ['acme']],
      ['pool:destroy', ['db']],
    ] as const) {
      const refused = await invoke(id, [...argv]);
      expect(refused.exit).toBe(2);
      expect(refused.stderr).toContain('try: add --yes');
      expect(refused.engine.calls.map(([name]) => name)).not.toContain(
        id === 'delete' ? 'deleteTenant' : 'destroyPool',
      );
      expect((await invoke(id, [...argv, '--yes'])).exit).toBe(0);
      expect((await invoke(id, [...argv, '--dry-run'])).exit).toBe(0);
    }
  });

  it('deletes by name too, but not by both', async () => {
    const { engine } = await invoke('delete', ['acme', '--yes']);
    expect(engine.calls[0]?.slice(0, 2)).toEqual(['deleteTenant', 'acme']);
    expect((await invoke('delete', ['acme', '-f', demo, '--yes'])).exit).toBe(2);
    expect((await invoke('delete', ['--yes'])).exit).toBe(2);
  });

  it('needs a spec that is there', async () => {
    expect(await invoke('validate')).toMatchObject({ exit: 2 });
    expect(await invoke('validate', ['-f', path.join(folder, 'none.yaml')])).toMatchObject({ exit: 3 });
    expect((await invoke('validate', ['-f', folder])).stderr).toContain('it is a directory');
  });

  it('lists the problems of a spec with their places', async () => {
    const file = path.join(folder, 'bad.yaml');
    writeFileSync(file, 'apiVersion: diciclo/v1\nkind: Tenant\nmetadata: {nam: x}\nspec: {weight: 0}\n');
    const text = await invoke('validate', ['-f', file]);
    expect(text.exit).toBe(2);
    expect(text.stderr).toContain(`${file}:3:12: metadata.nam: unknown key "nam"; did you mean "name"?`);
    const json = await invoke('validate', ['-f', file, '--json']);
    expect(json.exit).toBe(2);
    expect(JSON.parse(json.stdout).error.problems.length).toBe(3);
  });

  it('turns Ctrl-C into exit status 130', async () => {
    const engine = new FakeEngine();
    engine.applying = async (options?: CallOptions) => {
      process.emit('SIGINT');
      if (options?.signal?.aborted) throw new DicicloError('ABORTED', 'stopped');
    };
    const outcome = await invoke('apply', ['-f', demo], engine);
    expect(outcome.exit).toBe(130);
    expect(outcome.stderr).toContain('[INTERRUPTED]');
  });
});

describe('fs', () => {
  it('mounts a stack written in one line', async () => {
    const { engine, stdout } = await invoke('fs:mount', [
      'db',
      '/var/lib/Db',
      '--stack',
      '[cache: {size: 64Mi}, local: {path: /srv/x}]',
      '--host',
    ]);
    const [, name, filesystem] = engine.calls[0] as [string, string, object];
    expect(name).toBe('db');
    expect(filesystem).toMatchObject({ name: 'var-lib-db', mount: '/var/lib/Db', host: true, door: { cache: 'auto' } });
    expect(filesystem).toMatchObject({
      stack: { type: 'cache', children: { below: [{ type: 'local', options: { path: '/srv/x', readOnly: false } }] } },
    });
    expect(stdout).toBe('cache/local is mounted at /var/lib/Db in pool acme/db.\n');
  });

  it.each([
    [['db', 'data', '--stack', '[local: {path: /x}]'], 'must be an absolute path'],
    [['db', '/', '--stack', '[local: {path: /x}]'], 'must not be "/"'],
    [['db', '/data', '--stack', '[local: {pth: /x}]'], '--stack:1:10'],
    [['db', '/data', '--stack', '[cache'], 'not YAML'],
    [['db', '/data', '--stack', ''], 'the stack is empty'],
    [['db', '/data', '--stack', '[cache: {}]'], 'needs a file libservice in the role "below"'],
    [['db', '/data'], 'stack'],
  ])('refuses %j', async (argv, message) => {
    const outcome = await invoke('fs:mount', argv);
    expect(outcome.exit).toBe(2);
    expect(outcome.stderr).toContain(message);
    expect(outcome.engine.calls).toEqual([]);
  });

  it('unmounts, with force when told', async () => {
    const { engine } = await invoke('fs:unmount', ['db', '/data', '--force']);
    expect(engine.calls.at(-1)).toMatchObject(['unmount', 'acme/db', '/data', { force: true }]);
  });
});

describe('run', () => {
  it('passes everything after -- as it is, and the exit status back', async () => {
    const engine = new FakeEngine();
    engine.runStatus = 42;
    const command = ['prog', '--json', '--door', 'x', '--', '-q', ''];
    const outcome = await invoke('run', ['db', '--door', 'kernel', '--', ...command], engine);
    expect(outcome.exit).toBe(42);
    expect(outcome.stdout + outcome.stderr).toBe('');
    expect(engine.calls[0]).toEqual(['run', 'db', command, { door: 'kernel', syscalls: 'symbols' }]);
  });

  it('leaves with 0 when the command does', async () => {
    expect((await invoke('run', ['db', '--', 'true'])).exit).toBe(0);
  });

  it('says where the command belongs', async () => {
    for (const argv of [['db'], ['db', '--'], ['db', 'ls']]) {
      expect((await invoke('run', argv)).exit).toBe(2);
    }
    expect((await invoke('run', ['db'])).stderr).toContain('put it after --');
  });
});

describe('errors', () => {
  it('carries code, exit status and hints from the engine', async () => {
    const text = await invoke('pool:show', ['nope']);
    expect(text).toMatchObject({ exit: 3, stdout: '' });
    expect(text.stderr).toBe('error: there is no pool nope [POOL_NOT_FOUND]\n  try: diciclo pool list\n');
    const json = await invoke('pool:show', ['nope', '--json']);
    expect(json).toMatchObject({ exit: 3, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'POOL_NOT_FOUND', message: 'there is no pool nope', exit: 3, hints: ['diciclo pool list'] },
    });
  });

  it('puts what nobody expected in one sentence', async () => {
    const engine = new FakeEngine();
    engine.failure = new TypeError('x is not a function\n    at somewhere');
    const outcome = await invoke('pool:list', [], engine);
    expect(outcome.exit).toBe(1);
    expect(outcome.stderr).toMatch(/^error: x is not a function\. \[INTERNAL\]\n {2}try: /);
    engine.failure = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    expect((await invoke('pool:list', ['--json'], engine)).exit).toBe(7);
  });
});

describe('--watch', () => {
  it('prints one JSON line each time until Ctrl-C, then leaves with 130', async () => {
    let asked = 0;
    const engine = new FakeEngine();
    engine.listPools = async () => {
      asked += 1;
      if (asked === 3) process.emit('SIGINT');
      return engine.pools;
    };
    const outcome = await invoke('pool:list', ['--watch', '--interval', '1ms', '-o', 'json'], engine);
    expect(outcome.exit).toBe(130);
    const lines = outcome.stdout.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line)[0].name)).toEqual(['acme/db', 'acme/db', 'acme/db']);
    expect(outcome.stderr).toBe('');
    expect(asked).toBe(3);
  });
});

describe('export', () => {
  it('prints a full form that means the same', async () => {
    const first = await invoke('export', ['-f', demo]);
    const file = path.join(folder, 'full.yaml');
    writeFileSync(file, first.stdout);
    expect((await invoke('export', ['-f', file])).stdout).toBe(first.stdout);
    const { loadTenant } = await import('../../src/spec/index.js');
    const [a, b]: TenantSpec[] = await Promise.all([loadTenant(demo), loadTenant(file)]);
    expect(b).toEqual(a);
  });

  it('says when no such tenant was applied', async () => {
    expect(await invoke('export', ['acme'])).toMatchObject({ exit: 3 });
  });
});
