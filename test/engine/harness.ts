/**
 * A place of its own for each test: runtime directory, control group parent and a build directory of stand-ins; all of it removed afterwards,
 * and what should not have been left is reported.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { detectHierarchies } from '../../src/engine/resources/detect.js';
import { ResourceManager } from '../../src/engine/resources/index.js';
import type { PoolSpec, ServerSpec, TenantSpec } from '../../src/engine/types.js';

export const here = path.dirname(fileURLToPath(import.meta.url));
export const checkout = path.resolve(here, '../..');
export const isRoot = process.getuid?.() === 0;
export const realBuild = process.env.DICICLO_TEST_BUILD_DIR ?? path.join(checkout, 'build');

/** True when the native programs are built, so that tests can use them instead of the stand-ins. */
export const realBuildExists = ['init/diciclo-pool-init', 'init/diciclo-enter', 'service/diciclo-service'].every(
  (name) => existsSync(path.join(realBuild, name)),
);

export interface Place {
  directory: string;
  runtime: string;
  /** Control group parent. */
  parent: string;
  /** Names what a pool could have left: processes, groups, files. Empty: nothing. */
  leftovers(): string[];
  /** Removes everything, whatever the test did. */
  dispose(): Promise<void>;
}

const saved = ['DICICLO_RUNTIME_DIR', 'DICICLO_CGROUP_PARENT', 'DICICLO_BUILD_DIR'] as const;
let counter = 0;

/** Points this process's environment at a new place. */
export function makePlace(build: 'fake' | 'real' = 'fake'): Place {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'dct-'));
  const runtime = path.join(directory, 'run');
  const parent = `dct-${process.pid}-${counter++}`;
  const before = Object.fromEntries(saved.map((name) => [name, process.env[name]]));
  process.env.DICICLO_RUNTIME_DIR = runtime;
  process.env.DICICLO_CGROUP_PARENT = parent;
  process.env.DICICLO_BUILD_DIR = build === 'fake' ? fakeBuild(directory) : realBuild;
  return {
    directory,
    runtime,
    parent,
    leftovers: () => [...groupsOf(parent), ...filesBelow(runtime)],
    async dispose() {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      await removeAll(parent);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function fakeBuild(directory: string): string {
  const build = path.join(directory, 'build');
  for (const folder of ['service', 'init']) mkdirSync(path.join(build, folder), { recursive: true });
  for (const name of ['diciclo-pool-init', 'diciclo-enter'])
    symlinkSync(path.join(here, `fakes/${name}.mjs`), path.join(build, 'init', name));
  writeFileSync(path.join(build, 'service/diciclo-service'), '', { mode: 0o755 });
  return build;
}

/** Existing directories of the group `parent` in every hierarchy. */
export function groupsOf(parent: string): string[] {
  const directories = Object.values(new ResourceManager().directories(parent));
  return [...new Set(directories)].filter((directory) => existsSync(directory));
}

function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true }).map((name) => path.join(directory, String(name)));
}

async function removeAll(parent: string): Promise<void> {
  for (const top of groupsOf(parent)) {
    for (let round = 0; round < 50 && existsSync(top); round++) {
      const all = [
        top,
        ...readdirSync(top, { recursive: true, withFileTypes: true })
          .filter((each) => each.isDirectory())
          .map((each) => path.join(each.parentPath, each.name)),
      ];
      for (const group of all.reverse()) {
        for (const pid of pidsOf(group)) kill(pid);
        try {
          rmdirSync(group);
        } catch {
          // Not empty yet: the next round.
        }
      }
      if (existsSync(top)) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

export function pidsOf(group: string): number[] {
  try {
    return readFileSync(path.join(group, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

export function poolSpec(name: string, some: Partial<PoolSpec> = {}): PoolSpec {
  return {
    name,
    reserve: {},
    limit: {},
    weight: 100,
    trust: 'pool',
    workers: 1,
    filesystems: [],
    servers: [],
    ...some,
  };
}

export function serverSpec(name: string, command: string[], some: Partial<ServerSpec> = {}): ServerSpec {
  return {
    name,
    kind: 'process',
    command,
    environment: {},
    door: 'kernel',
    restart: 'never',
    stopSignal: 'SIGTERM',
    stopGrace: 2000,
    ...some,
  };
}

export function tenantSpec(name: string, pools: PoolSpec[]): TenantSpec {
  return { apiVersion: 'diciclo/v1', kind: 'Tenant', metadata: { name }, spec: { pools } };
}

export function filesystem(name: string, backing: string, mount?: string) {
  return {
    name,
    mount,
    host: false,
    door: { cache: 'auto' as const },
    stack: { type: 'local', options: { path: backing, readOnly: false }, children: {} },
  };
}

/** The controllers of this machine, and the cgroup version of its memory controller. */
export const hierarchies = detectHierarchies();
export const cgroupVersion = hierarchies.memory?.version ?? 0;

/** True when control groups can be made here. */
export function groupsWritable(): boolean {
  if (!isRoot || !hierarchies.memory) return false;
  try {
    execFileSync('test', ['-w', hierarchies.memory.mount]);
    return true;
  } catch {
    return false;
  }
}
