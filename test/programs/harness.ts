/**
 * The oracle of these tests is the host's own filesystem: the same unmodified program runs in an empty directory of it and in one of a mount, and has to print the same and to end the same.
 * What the doors carried is looked at besides, since a call that quietly went to the kernel door is right, and so fails no such test.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import { type Door, operations, type TestPool, total } from '../e2e/harness.js';

/** The long forms: more programs, more doors and stacks, larger counts. */
export const full = process.env.DICICLO_TEST_FULL === '1';
export const scripts = path.join(import.meta.dirname, 'scripts');
export const WRITE_BACK = '[cache: {size: 64Mi, mode: write-back}, local: {path: BACKING}]';

export interface Outcome {
  status: number;
  output: string;
}
export interface RunOptions {
  timeout?: number;
  env?: Record<string, string>;
  /** Prepares both directories: a script that is run through the kernel door, where it says nothing about the library. */
  prepare?: string;
  /** What may differ between two runs anywhere is taken out of the output. */
  normalize?: (output: string) => string;
}

let runs = 0;

/** A shell command that goes to `directory` (and says so by $HOME and $TMPDIR) and becomes `command`: the same for both places. */
function wrapped(directory: string, command: string[], env: Record<string, string>): string[] {
  const variables = { HOME: directory, TMPDIR: directory, TZ: 'UTC', LC_ALL: 'C.UTF-8', ...env };
  const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return ['env', '-C', directory, ...settings, ...command];
}

/** Runs `command` in an empty directory of the host and, by `door`, in one of the mount, side by side. DIR in its words is that directory. */
export async function onBoth(pool: TestPool, door: Door, command: string[], options: RunOptions = {}) {
  const name = `run-${runs++}`;
  const host = path.join(pool.work, 'host', name);
  const mount = path.join(pool.mount, name);
  const timeout = options.timeout ?? 800_000;
  const settle = (directory: string, { status, output }: Outcome): Outcome => {
    const text = output.replaceAll(directory, 'DIR');
    return { status, output: options.normalize?.(text) ?? text };
  };
  const line = (directory: string) =>
    wrapped(
      directory,
      command.map((word) => word.replaceAll('DIR', directory)),
      options.env ?? {},
    );
  mkdirSync(host, { recursive: true, mode: 0o755 });
  await pool.sh('kernel', `mkdir ${name}`);
  if (options.prepare) {
    await execa('bash', ['-e', '-c', options.prepare], { cwd: host });
    await pool.sh('kernel', options.prepare, { cwd: mount });
  }
  const onHost = async (): Promise<Outcome> => {
    const [program, ...words] = line(host) as [string, ...string[]];
    const result = await execa(program, words, { all: true, reject: false, stdin: 'ignore', timeout });
    return { status: result.exitCode ?? 255, output: result.all ?? '' };
  };
  const [expected, seen] = await Promise.all([onHost(), pool.tryRun(door, line(mount), { timeout })]);
  return { host: settle(host, expected), mount: settle(mount, seen), directory: mount, name };
}

/** As `onBoth`; the outcomes have to be the same, and the program has to have ended well in both unless it is told otherwise. */
export async function sameOnBoth(pool: TestPool, door: Door, command: string[], options: RunOptions = {}) {
  const outcome = await onBoth(pool, door, command, options);
  expect(outcome.mount.output).toBe(outcome.host.output);
  expect(outcome.mount.status).toBe(outcome.host.status);
  expect(outcome.host.status, outcome.host.output).toBe(0);
  return outcome;
}

interface Clients {
  uncarried: Record<string, number>;
  leasedReads: number;
}
export interface Carried {
  /** of all operations on the instance */
  share: number;
  operations: Awaited<ReturnType<typeof operations>>;
  /** why calls were left to the kernel door: name and count */
  uncarried: Record<string, number>;
}

/** What the doors carried while `action` ran; printed, with the reasons for what was not. */
export async function carried(pool: TestPool, what: string, action: () => Promise<unknown>): Promise<Carried> {
  await pool.engine.resetStats(pool.pool);
  const clients = async () => ((await pool.engine.stats(pool.pool)) as unknown as { clients: Clients }).clients;
  const before = await clients();
  await action();
  const counts = await operations(pool);
  const after = await clients();
  const uncarried = Object.fromEntries(
    Object.entries(after.uncarried)
      .map(([name, count]) => [name, count - (before.uncarried[name] ?? 0)] as const)
      .filter(([, count]) => count > 0),
  );
  // What needed no request is carried too, and in no operation's count.
  const library = total(counts, 'library') + after.leasedReads - before.leasedReads;
  const all = library + total(counts, 'kernel');
  const share = library / Math.max(1, all);
  const left = Object.entries(uncarried).map(([name, count]) => `${name} ${count}`);
  process.stdout.write(
    `${what}: ${all} operations, ${(share * 100).toFixed(1)}% by the library; not carried: ${left.join(', ') || 'nothing'}\n`,
  );
  return { share, operations: counts, uncarried };
}
