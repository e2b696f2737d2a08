import { describe, expect, it } from 'vitest';
import { admit, assignCpus, type Claim, formatBytes, sharedCpus } from '../../src/engine/admission.js';
import {
  type DesiredMount,
  type DesiredPool,
  type ObservedPool,
  type PlanInput,
  planTenant,
  settingsOf,
} from '../../src/engine/plan.js';
import type { MountRecord, PoolRecord } from '../../src/engine/state.js';
import type { InstancePlan, PoolSpec } from '../../src/engine/types.js';
import { poolSpec, serverSpec, tenantSpec } from './harness.js';

const GIB = 2 ** 30;
const machine = { cpus: [0, 1, 2, 3], memoryBytes: 8 * GIB };

const plan = (path: string): InstancePlan => ({
  version: 1,
  instance: 'data',
  root: 'data.0',
  nodes: [{ id: 'data.0', type: 'local', kind: 'file', options: { path }, children: {} }],
});
const mount = (path = '/srv/x', some: Partial<DesiredMount> = {}): DesiredMount => ({
  instance: 'data',
  mountpoint: '/data',
  host: false,
  door: { cache: 'auto' },
  plan: plan(path),
  stack: 'local',
  ...some,
});
const desired = (spec: PoolSpec, mounts = [mount()]): DesiredPool => ({ spec, mounts });

/** A pool as it is recorded once `pool` was applied to the end. */
function observed(pool: DesiredPool, some: Partial<PoolRecord> = {}, seen: Partial<ObservedPool> = {}): ObservedPool {
  const settings = settingsOf(pool.spec);
  const mounts: MountRecord[] = pool.mounts.map((each) => ({
    ...each,
    origin: 'spec',
    phase: 'mounted',
    madeDirectories: [],
  }));
  const record: PoolRecord = {
    schema: 1,
    tenant: 'acme',
    pool: pool.spec.name,
    origin: 'spec',
    phase: 'running',
    createdAt: '',
    boot: '',
    settings,
    applied: settings,
    cpus: null,
    cgroupParent: 'diciclo',
    cgroups: {},
    mounts,
    servers: pool.spec.servers.map((spec) => ({ spec, origin: 'spec', phase: 'started' })),
    ...some,
  };
  return {
    record,
    alive: true,
    mountpoints: mounts.map((each) => each.mountpoint),
    servers: pool.spec.servers.map((each) => each.name),
    ...seen,
  };
}

function input(pools: DesiredPool[], seen: ObservedPool[], applied: DesiredPool[] | null = pools): PlanInput {
  const spec = tenantSpec(
    'acme',
    pools.map((pool) => pool.spec),
  );
  const before = applied && tenantSpec('acme', applied.map((pool) => pool.spec)); // biome-ignore format: one line
  return { spec, pools, observed: seen, applied: before, machine };
}

const words = (given: PlanInput) =>
  planTenant(given).map((step) => `${step.verb} ${step.object} ${step.name}: ${step.reasons.join('; ')}`);

describe('plan', () => {
  const base = desired(
    poolSpec('db', { limit: { memory: 4 * GIB }, servers: [serverSpec('redis', ['redis-server'])] }),
  );
  const changed = (spec: Partial<PoolSpec>, mounts = base.mounts) => desired({ ...base.spec, ...spec }, mounts);

  it('makes everything from nothing, outer mounts first, and nothing the second time', () => {
    const inner = mount('/srv/y', { instance: 'inner', mountpoint: '/data/inner' });
    const pool = desired(base.spec, [inner, mount()]);
    expect(words(input([pool], [], null))).toEqual([
      'create pool acme/db: new',
      'create filesystem acme/db/data: new',
      'create filesystem acme/db/inner: new',
      'create server acme/db/redis: new',
      'create tenant acme: new',
    ]);
    expect(words(input([pool], [observed(pool)]))).toEqual([]);
  });

  it('does not change what it is given, and answers the same twice', () => {
    const given = input([changed({ weight: 50 })], [observed(base)], [base]);
    const copy = structuredClone(given);
    expect(planTenant(given)).toEqual(planTenant(given));
    expect(given).toEqual(copy);
  });

  const rows: [what: string, pool: DesiredPool, expected: string[]][] = [
    ['a limit', changed({ limit: { memory: 6 * GIB } }), ['update pool acme/db: limit.memory 4Gi -> 6Gi']],
    ['a reservation', changed({ reserve: { cores: 1.5 } }), ['update pool acme/db: reserve.cores none -> 1.5']],
    ['a weight', changed({ weight: 50 }), ['update pool acme/db: weight 100 -> 50']],
    [
      'trust',
      changed({ trust: 'process' }),
      ['restart pool acme/db: trust pool -> process', 'create filesystem acme/db/data', 'create server acme/db/redis'],
    ],
    [
      'a stack',
      changed({}, [mount('/srv/z')]),
      [
        'update filesystem acme/db/data: local.path "/srv/x" -> "/srv/z"',
        'restart server acme/db/redis: filesystem data changes',
      ],
    ],
    [
      'a mount point',
      changed({}, [mount('/srv/x', { mountpoint: '/other' })]),
      ['update filesystem acme/db/data: mount /data -> /other', 'restart server acme/db/redis'],
    ],
    [
      'a server',
      changed({ servers: [serverSpec('redis', ['redis-server', '--port', '1'])] }),
      ['update server acme/db/redis: command changed'],
    ],
    ['no server', changed({ servers: [] }), ['delete server acme/db/redis: not in the spec any more']],
    [
      'no filesystem',
      changed({}, []),
      ['delete filesystem acme/db/data: not in the spec any more', 'restart server acme/db/redis'],
    ],
  ];
  it.each(rows)('sees a change of %s', (_what, pool, expected) => {
    const found = words(input([pool], [observed(base)], [base]));
    expect(found.slice(0, -1)).toHaveLength(expected.length);
    for (const [index, start] of expected.entries()) expect(found[index]).toContain(start);
    expect(found.at(-1)).toBe('update tenant acme: its pools change');
  });

  it('finishes what was interrupted', () => {
    expect(
      words(
        input(
          [base],
          [observed(base, { phase: 'creating', applied: null, mounts: [], servers: [] }, { alive: false })],
        ),
      )[0],
    ).toContain('creation was interrupted');
    expect(words(input([base], [observed(base, { phase: 'deleting' })])).slice(0, 2)).toEqual([
      'delete pool acme/db: its deletion was interrupted',
      'create pool acme/db: new',
    ]);
    const half = observed(base);
    half.record.mounts = half.record.mounts.map((each) => ({ ...each, phase: 'creating' }));
    expect(words(input([base], [half]))[0]).toBe('create filesystem acme/db/data: its creation was interrupted');
  });

  it('sees what is not there although recorded', () => {
    expect(words(input([base], [observed(base, {}, { alive: false, mountpoints: null, servers: null })]))[0]).toContain(
      'restart pool acme/db: its first process is gone',
    );
    expect(words(input([base], [observed(base, {}, { mountpoints: [] })]))[0]).toBe(
      'create filesystem acme/db/data: not mounted',
    );
    expect(words(input([base], [observed(base, {}, { servers: [] })]))[0]).toBe(
      'create server acme/db/redis: not started',
    );
  });

  it('deletes pools that left the spec, and keeps those that a command made', () => {
    const web = desired(poolSpec('web'), []);
    expect(words(input([base], [observed(base), observed(web)]))[0]).toBe(
      'delete pool acme/web: not in the spec any more',
    );
    expect(words(input([base], [observed(base), observed(web, { origin: 'command' })]))).toEqual([]);
  });

  it('refuses two filesystems at one mount point', () => {
    const twice = desired(base.spec, [mount(), mount('/srv/y', { instance: 'other' })]);
    expect(() => planTenant(input([twice], []))).toThrow(/data and other .* same mount point \/data/);
  });

  it('admits by what is recorded of all tenants', () => {
    const other = observed(desired(poolSpec('big', { reserve: { cores: 3 } }), []));
    other.record.tenant = 'rival';
    const wanted = changed({ reserve: { cores: 2 } });
    expect(() => planTenant(input([wanted], [other]))).toThrow(
      /reserve 5 cores of this machine's 4 cores \(rival\/big 3, acme\/db 2\)/,
    );
  });
});

describe('admission', () => {
  const claim = (name: string, some: Partial<Claim> = {}): Claim => ({
    name,
    reserve: {},
    limit: {},
    cpus: null,
    ...some,
  });

  it.each([
    [
      'memory beyond the machine',
      claim('a/b', { reserve: { memory: 9 * GIB } }),
      /reserve 9Gi of this machine's 8Gi of memory/,
    ],
    ['a limit beyond the machine', claim('a/b', { limit: { memory: 9 * GIB } }), /asks for limit.memory 9Gi/],
    [
      'a limit below the reservation',
      claim('a/b', { reserve: { cores: 2 }, limit: { cores: 1 } }),
      /limit.cores 1 is below reserve.cores 2/,
    ],
    ['too little memory', claim('a/b', { limit: { memory: 1024 } }), /less than the 16Mi/],
    ['what is no quantity', claim('a/b', { reserve: { cores: -1 } }), /not a quantity/],
  ])('refuses %s', (_what, given, message) => {
    expect(() => admit([given], machine)).toThrow(message);
  });

  it('takes fractions up to the very whole', () => {
    expect(() =>
      admit(
        ['a', 'b', 'c'].map((name) => claim(name, { reserve: { cores: 4 / 3 } })),
        machine,
      ),
    ).not.toThrow();
  });

  it('gives whole cores for oneself where they are free, highest first, and leaves others what they have', () => {
    const first = claim('a', { reserve: { cores: 2 } });
    expect(assignCpus([first], machine.cpus, 'a').get('a')).toEqual([2, 3]);
    const second = claim('b', { reserve: { cores: 1 } });
    const both = assignCpus([{ ...first, cpus: [2, 3] }, second], machine.cpus, 'b');
    expect([...both]).toEqual([
      ['a', [2, 3]],
      ['b', [1]],
    ]);
    expect(sharedCpus(both.values(), machine.cpus)).toEqual([0]);
    expect(assignCpus([claim('c', { reserve: { cores: 5 } })], machine.cpus, 'c').get('c')).toBe(null);
    expect(assignCpus([claim('c', { reserve: { cores: 0.5 } })], machine.cpus, 'c').get('c')).toBe(null);
    expect(assignCpus([claim('c', { reserve: { cores: 1 }, limit: { cores: 2 } })], machine.cpus, 'c').get('c')).toBe(
      null,
    );
    expect(sharedCpus([[0, 1, 2, 3]], machine.cpus)).toEqual(machine.cpus);
  });

  it('writes bytes as a spec does', () => {
    expect([0, 1023, 512 * 2 ** 20, 1.5 * GIB].map(formatBytes)).toEqual(['0', '1023', '512Mi', '1.5Gi']);
  });
});
