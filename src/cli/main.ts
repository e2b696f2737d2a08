/** Runs one command line and ends the process with its exit status. */
import { run } from '@oclif/core/run';
import { ExitStatus } from '../engine/types.js';
import { wantsJson } from './command.js';
import { errorJson, errorText, toDicicloError } from './errors.js';

/** Waits until what was written has left. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (!stream.write('', () => resolve())) return;
  });
}

/** `root` is the folder of package.json. Does not return. */
export async function main(argv: string[], root: string): Promise<never> {
  // A reader that left (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? ExitStatus.ok : ExitStatus.failed),
  );
  let exit: number = ExitStatus.ok;
  try {
    await run(argv, { root });
    exit = Number(process.exitCode ?? ExitStatus.ok);
  } catch (error) {
    exit = exitOf(error) ?? report(error, argv);
  }
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit(exit);
}

/** The exit status of an error that a command has already reported. */
function exitOf(error: unknown): number | undefined {
  const known = error as { code?: string; oclif?: { exit?: number } };
  return known?.code === 'EEXIT' ? (known.oclif?.exit ?? ExitStatus.failed) : undefined;
}

function report(error: unknown, argv: readonly string[]): number {
  const known = toDicicloError(error);
  if (wantsJson(argv)) process.stdout.write(`${JSON.stringify(errorJson(known), null, 2)}\n`);
  else process.stderr.write(errorText(known, (_, text) => text));
  return known.exit;
}
