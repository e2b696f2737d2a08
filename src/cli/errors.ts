/**
 * Every error a person or a script sees: one sentence, its code, and what to try. Turns what oclif, Node and bugs throw into the one error class.
 */
import { DicicloError, ExitStatus } from '../engine/types.js';
import { MAX_SHOWN, type Problem, problemText } from '../spec/problems.js';
import { suggest } from '../spec/suggest.js';

/** What of a command an error needs to be put in words. */
export interface ErrorContext {
  /** `pool create`, when a command was found. */
  command?: string;
  /** Long names of its options, without dashes. */
  flags?: readonly string[];
  interrupted?: boolean;
}

interface OclifError extends Error {
  oclif?: { exit?: number };
  code?: string;
  parse?: unknown;
  args?: unknown;
  flags?: unknown;
}

export function toDicicloError(error: unknown, context: ErrorContext = {}): DicicloError {
  if (context.interrupted) {
    const again = context.command ? [`the same command again goes on where this one stopped`] : [];
    return new DicicloError('INTERRUPTED', 'Interrupted.', {
      exit: ExitStatus.interrupted,
      hints: again,
      cause: error,
    });
  }
  if (error instanceof DicicloError) {
    // oclif writes into the message of what a flag's parser throws.
    error.message = error.message.replace(/^Parsing --\S+\s+/, '').replace(/\s*See more help with --help$/, '');
    return error;
  }
  const known = error as OclifError;
  if (known?.parse !== undefined) return usageError(known, context);
  if (known?.oclif)
    return new DicicloError('USAGE', sentence(known.message), {
      exit: known.oclif.exit ?? ExitStatus.usage,
      cause: error,
    });
  const code = known?.code;
  const permission = code === 'EACCES' || code === 'EPERM';
  return new DicicloError(permission ? 'PERMISSION' : 'INTERNAL', sentence(known?.message ?? String(error)), {
    exit: permission ? ExitStatus.permission : ExitStatus.failed,
    hints: permission ? ['run it as root'] : ['DICICLO_DEBUG=1 shows where it happened'],
    cause: error,
  });
}

/** Parse errors of oclif run over many lines and tell its own insides; people need the word that was wrong. */
function usageError(error: OclifError, context: ErrorContext): DicicloError {
  const hints = context.command ? [`diciclo ${context.command} --help`] : [];
  return new DicicloError('USAGE', usageSentence(error, context), { exit: ExitStatus.usage, hints, cause: error });
}

function usageSentence(error: OclifError, context: ErrorContext): string {
  const name = error.constructor.name;
  if (name === 'RequiredArgsError') {
    const missing = (error.args as { name: string }[]).map((arg) => arg.name.toUpperCase());
    return `${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing.`;
  }
  if (name === 'UnexpectedArgsError')
    return `The argument "${(error.args as string[]).join(' ').slice(0, 200)}" is one too many.`;
  if (name === 'NonExistentFlagsError') {
    const [flag = ''] = error.flags as string[];
    const guess = suggest(flag.replace(/^-+/, ''), context.flags ?? []);
    return `There is no option ${flag.slice(0, 80)}${guess ? `; did you mean --${guess}?` : '.'}`;
  }
  const text = error.message
    .replace(/\nSee more help with --help$/, '')
    .replace(/^The following errors? occurred:/, '')
    .replace(/\s+/g, ' ')
    .trim();
  return sentence(text);
}

function sentence(text: string): string {
  const line = text.split('\n', 1)[0]?.slice(0, 500) ?? '';
  return /[.?!]$/.test(line) ? line : `${line}.`;
}

/** The object that `--json` prints. */
export function errorJson(error: DicicloError): { error: Record<string, unknown> } {
  const { code, message, exit, hints } = error;
  return { error: { code, message, exit, hints, ...error.options.details } };
}

/** What goes to stderr: the problems of a spec one to a line, the sentence with its code, and what to try. `paint` colours. */
export function errorText(error: DicicloError, paint: (style: 'red' | 'dim', text: string) => string): string {
  const lines: string[] = [];
  const problems = (error.options.details?.problems as Problem[] | undefined) ?? [];
  if (problems.length > 1) {
    for (const problem of problems.slice(0, MAX_SHOWN)) lines.push(problemText(problem));
  }
  lines.push(`${paint('red', 'error:')} ${error.message} ${paint('dim', `[${error.code}]`)}`);
  for (const hint of error.hints) lines.push(`  try: ${hint}`);
  if (process.env.DICICLO_DEBUG)
    lines.push(error.stack ?? '', error.cause instanceof Error ? `cause: ${error.cause.stack}` : '');
  return `${lines.join('\n')}\n`;
}
