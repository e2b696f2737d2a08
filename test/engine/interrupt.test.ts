import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine } from '../../src/engine/index.js';
import {
  checkout,
  filesystem,
  groupsWritable,
  here,
  makePlace,
  type Place,
  poolSpec,
  realBuildExists,
  serverSpec,
  tenantSpec,
} from './harness.js';

/** Runs one engine call in a process of its own, so that a fault point can kill it. */
function inProcess(call: string, argument: string, env: Record<string, string>) {
  const argv = ['--import', 'tsx', path.join(here, 'fakes/engine-call.ts'), call, argument];
  return spawnSync(process.execPath, argv, {
    cwd: checkout,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 60_000,
  });
}

const builds = [
  { build: 'fake' as const, possible: groupsWritable() },
  { build: 'real' as const, possible: groupsWritable() && realBuildExists },
];

describe.each(builds)('a command line killed at any step ($build pool-init)', ({ build, possible }) => {
  let place: Place;
  let specFile: string;
  let mountpoint: string;
  const spec = () =>
    tenantSpec('acme', [
      poolSpec('db', {
        reserve: { cores: 0.1, memory: 32 << 20 },
        filesystems: [filesystem('data', path.join(place.directory, 'backing'), mountpoint)],
        servers: [serverSpec('nap', ['sleep', '1000'])],
      }),
    ]);

  beforeEach(() => {
    place = makePlace(build);
    mountpoint = path.join(place.directory, 'made/mnt');
    mkdirSync(path.join(place.directory, 'backing'));
    specFile = path.join(place.directory, 'spec.json');
    writeFileSync(specFile, JSON.stringify(spec()));
  });
  afterEach(async () => {
    await place.dispose();
  });

  /** The steps that a whole call passes, in order. */
  function stepsOf(call: string, argument: string): string[] {
    const trace = path.join(place.directory, `trace-${call}`);
    const result = inProcess(call, argument, { DICICLO_TEST_TRACE_STEPS: trace });
    expect(result.stderr).toBe('');
    expect(result.status).toBe(0);
    const steps = readFileSync(trace, 'utf8').trim().split('\n');
    rmSync(trace);
    return steps;
  }

  it.skipIf(!possible)(
    'apply: the next apply finishes the job, or delete takes it back, and nothing is left',
    async () => {
      const engine = createEngine();
      const steps = stepsOf('apply', specFile);
      expect(steps.length).toBeGreaterThan(12);
      await engine.deleteTenant('acme');
      for (const [index, stop] of steps.entries()) {
        const killed = inProcess('apply', specFile, { DICICLO_TEST_STOP_AFTER: stop });
        expect([stop, killed.signal]).toEqual([stop, 'SIGKILL']);
        // Every other time it is finished first, else deleted from where it stands.
        if (index % 2 === 0) {
          await engine.apply(spec());
          expect([stop, await engine.plan(spec())]).toEqual([stop, []]);
          const [pool] = await engine.listPools();
          expect(pool).toMatchObject({
            phase: 'running',
            mounts: [{ instance: 'data', mountpoint }],
            servers: [{ name: 'nap', state: 'running' }],
          });
        }
        await engine.deleteTenant('acme');
        expect([stop, place.leftovers()]).toEqual([stop, []]);
        expect([stop, existsSync(path.dirname(mountpoint))]).toEqual([stop, false]);
      }
    },
    240_000,
  );

  it.skipIf(!possible)(
    'delete: the next delete finishes the job',
    async () => {
      const engine = createEngine();
      await engine.apply(spec());
      const steps = stepsOf('delete', 'acme');
      expect(steps.length).toBeGreaterThan(5);
      for (const stop of steps) {
        await engine.apply(spec());
        const killed = inProcess('delete', 'acme', { DICICLO_TEST_STOP_AFTER: stop });
        expect([stop, killed.signal]).toEqual([stop, 'SIGKILL']);
        await engine.deleteTenant('acme');
        expect([stop, place.leftovers()]).toEqual([stop, []]);
        expect([stop, existsSync(path.dirname(mountpoint))]).toEqual([stop, false]);
      }
    },
    240_000,
  );

  it.skipIf(!possible)(
    'apply after an interrupted delete brings everything back',
    async () => {
      const engine = createEngine();
      for (const stop of ['delete-recorded', 'processes-ended', 'cgroups-removed']) {
        await engine.apply(spec());
        inProcess('delete', 'acme', { DICICLO_TEST_STOP_AFTER: stop });
        await engine.apply(spec());
        expect([stop, (await engine.showPool('db')).phase]).toEqual([stop, 'running']);
      }
      await engine.deleteTenant('acme');
      expect(place.leftovers()).toEqual([]);
    },
    120_000,
  );
});
