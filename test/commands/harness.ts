/** Runs one command class in this process, as the command line would, and tells what it printed and with which exit status it left. */
import path from 'node:path';
import type { Command } from '@oclif/core/command';
import { Config } from '@oclif/core/config';
import { vi } from 'vitest';
import { DicicloCommand } from '../../src/cli/command.js';
import { FakeEngine } from './fake-engine.js';

export const checkout = path.resolve(import.meta.dirname, '../..');

export interface Outcome {
  stdout: string;
  stderr: string;
  exit: number;
  /** What `run` returned. */
  result: unknown;
  engine: FakeEngine;
}

export type CommandClass = (new (argv: string[], config: Config) => Command) & { id: string };

let config: Promise<Config> | undefined;

export async function commandClass(id: string): Promise<CommandClass> {
  const file = path.join(checkout, 'src/commands', `${id.replaceAll(':', '/')}.ts`);
  const { default: Class } = (await import(/* @vite-ignore */ file)) as { default: CommandClass };
  Class.id = id;
  return Class;
}

/** `id` is the command's, as oclif names it (`pool:create`). */
export async function invoke(id: string, argv: string[] = [], engine = new FakeEngine()): Promise<Outcome> {
  config ??= Config.load({ root: checkout, pjson: undefined });
  const Class = await commandClass(id);
  const printed = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((chunk) => {
      printed[name] += String(chunk);
      return true;
    }),
  );
  const createEngine = DicicloCommand.createEngine;
  DicicloCommand.createEngine = async () => engine;
  let exit = 0;
  let result: unknown;
  try {
    const command = new Class(argv, await config);
    result = await (command as unknown as { _run(): Promise<unknown> })._run();
  } catch (error) {
    const known = error as { oclif?: { exit?: number }; code?: string };
    if (known.code !== 'EEXIT') throw error;
    exit = known.oclif?.exit ?? 1;
  } finally {
    DicicloCommand.createEngine = createEngine;
    for (const spy of spies) spy.mockRestore();
  }
  return { ...printed, exit, result, engine };
}
