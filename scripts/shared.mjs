/**
 * What the scripts share. Node's own modules alone: node_modules may not exist yet.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ENDING_MS = 20_000;
export const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Exit statuses of CONVENTIONS that scripts use. */
export const Exit = { failed: 1, usage: 2, prerequisite: 6, permission: 7 };

/** A failure that is one sentence, how to mend it, and an exit status. */
export class Failure extends Error {
  constructor(message, fix, exit = Exit.failed) {
    super(message);
    this.fix = fix;
    this.exit = exit;
  }
}

/** Progress, on stderr: stdout is for data. */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

const directories = new Set();
const children = new Set();
let ending = 0; // exit status: no program is begun any more

/** A directory of our own in the temporary one, until `done` or the end of this process. */
export function scratch(prefix) {
  const directory = mkdtempSync(path.join(os.tmpdir(), prefix));
  directories.add(directory);
  return directory;
}

export function done(directory) {
  rmSync(directory, { recursive: true, force: true });
  directories.delete(directory);
}

/** A script that is ended by a signal ends the programs that it runs, and leaves nothing. Others' handlers of the signal have their turn first. */
export function leaveNothing() {
  process.on('exit', () => {
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  });
  for (const [signal, number] of Object.entries({ SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }))
    process.on(signal, () => {
      ending = 128 + number;
      for (const child of children) child.kill(signal);
      setTimeout(() => process.exit(ending), children.size > 0 ? ENDING_MS : 0);
    });
}

/** Runs a program with its output on our stderr; resolves with its exit status (128+ for signals, 127 when it is not there). */
export function run(argv, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { cwd: checkout, stdio: ['ignore', 2, 2], ...options });
    children.add(child);
    const ended = (status) => {
      children.delete(child);
      if (ending && children.size === 0) process.exit(ending);
      if (!ending) resolve(status);
    };
    child.on('error', () => ended(127));
    child.on('exit', (code, signal) => ended(code ?? (signal ? 128 + 9 : 1)));
  });
}

/** Runs a program to its end and returns { status, output } with both outputs together. */
export function ask(argv, options = {}) {
  const result = spawnSync(argv[0], argv.slice(1), {
    cwd: checkout,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    ...options,
  });
  return { status: result.status ?? 127, output: `${result.stdout ?? ''}${result.stderr ?? ''}` };
}

/** Ends the script as the error says. */
export function fail(error) {
  if (!(error instanceof Failure)) throw error;
  say(`error: ${error.message}`);
  if (error.fix) say(`  try: ${error.fix}`);
  process.exit(error.exit);
}

export function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}
