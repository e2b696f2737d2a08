/**
 * What every command shares: the engine, answers on stdout, messages on stderr, errors with their exit status, Ctrl-C. A command parses, calls the engine and
 * shows the answer; it returns the answer too, for tests.
 */
import { styleText } from 'node:util';
import { Command } from '@oclif/core/command';
import { ExitError } from '@oclif/core/errors';
import { type CallOptions, DicicloError, type Engine, ExitStatus } from '../engine/types.js';
import { errorJson, errorText, toDicicloError } from './errors.js';
import { Flags } from './flags.js';
import { Interrupt } from './interrupt.js';
import type { OutputFormat, Style, View } from './output.js';

/** Narrower terminals (and those that do not know their width) get plain lines. */
const MIN_LIVE_COLUMNS = 40;

/** True when the words before `--` ask for JSON; needed before (and when) they do not parse. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  return words.some(
    (word, index) =>
      word === '--json' ||
      word === '-ojson' ||
      word === '--output=json' ||
      (word === 'json' && /^(-o|--output)$/.test(words[index - 1] ?? '')),
  );
}

export interface ShowFlags {
  output?: OutputFormat;
}
export interface ChangeFlags {
  'dry-run'?: boolean;
  timeout?: number;
}
export interface WatchFlags {
  watch?: boolean;
  interval?: number;
}

export abstract class DicicloCommand extends Command {
  static override baseFlags = {
    json: Flags.boolean({ description: 'print the answer as JSON', helpGroup: 'GLOBAL' }),
    quiet: Flags.boolean({ char: 'q', description: 'no messages and no progress', helpGroup: 'GLOBAL' }),
    'no-color': Flags.boolean({ description: 'no colours', helpGroup: 'GLOBAL' }),
  };

  /** Tests put a fake in its place. */
  static createEngine: () => Promise<Engine> = async () => (await import('../engine/index.js')).createEngine();

  /** Ctrl-C is the command's own matter (false for `run`: its child gets it). */
  protected readonly interruptible: boolean = true;
  protected interrupt: Interrupt | undefined;
  private progress: { close(): Promise<void> } | undefined;

  override async init(): Promise<void> {
    await super.init();
    if (this.interruptible) this.interrupt = new Interrupt();
  }

  protected engine(): Promise<Engine> {
    return DicicloCommand.createEngine();
  }

  protected get json(): boolean {
    return wantsJson(this.argv);
  }

  protected get isQuiet(): boolean {
    return this.json || this.hasWord('--quiet', 'q');
  }

  private hasWord(long: string, short: string): boolean {
    const end = this.argv.indexOf('--');
    const words = end < 0 ? this.argv : this.argv.slice(0, end);
    return words.some((word) => word === long || new RegExp(`^-[a-z]*${short}[a-z]*$`).test(word));
  }

  protected paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stderr): string {
    const plain = !stream.isTTY || process.env.NO_COLOR || this.argv.includes('--no-color');
    return plain ? text : styleText(style, text);
  }

  /** Data: to stdout, whatever -q says. */
  protected write(text: string): void {
    process.stdout.write(text);
  }

  /** A message for people: to stderr, not with --json or -q. */
  protected say(text: string): void {
    if (!this.isQuiet) process.stderr.write(`${text}\n`);
  }

  /** Prints an answer in the form asked for, and gives it back. */
  protected async show<T>(value: T, view: View<T>, flags: ShowFlags = {}): Promise<T> {
    const format = this.json ? 'json' : (flags.output ?? 'table');
    if (format === 'json') this.write(`${JSON.stringify(value, null, 2)}\n`);
    else if (format === 'yaml') this.write((await import('yaml')).stringify(value, { aliasDuplicateObjects: false }));
    else if (format === 'name') for (const name of view.names?.(value) ?? []) this.write(`${name}\n`);
    else this.write(view.text(value, format === 'wide'));
    return value;
  }

  /** The result of a change: one sentence on stdout (not with -q), or the value as JSON. */
  protected answer<T>(value: T, sentence: string): T {
    if (this.json) this.write(`${JSON.stringify(value, null, 2)}\n`);
    else if (!this.isQuiet) this.write(`${sentence}\n`);
    return value;
  }

  /** Shows what `get` answers, with --watch again and again (one JSON line each time with --json) until Ctrl-C (130). */
  protected async watch<T>(get: () => Promise<T>, view: View<T>, flags: ShowFlags & WatchFlags): Promise<T> {
    if (!flags.watch) return this.show(await get(), view, flags);
    const clear = process.stdout.isTTY && !this.json ? '\u001b[H\u001b[2J' : '';
    for (;;) {
      const value = await get();
      if (this.json) this.write(`${JSON.stringify(value)}\n`);
      else {
        this.write(clear);
        await this.show(value, view, flags);
      }
      await this.interrupt?.sleep(flags.interval ?? 2000);
      if (!this.interrupt || this.interrupt.signal.aborted) this.exit(ExitStatus.interrupted);
    }
  }

  /** What the engine is told along with a change: where its events go, how long it may take, how it is stopped. */
  protected async callOptions(flags: ChangeFlags): Promise<CallOptions> {
    const options: CallOptions = { dryRun: flags['dry-run'] === true };
    if (flags.timeout !== undefined) options.timeout = flags.timeout;
    if (this.interrupt) options.signal = this.interrupt.signal;
    if (this.isQuiet) return options;
    const { LiveProgress, PlainProgress } = await import('./progress.js');
    // listr2 looks at stdout before it draws, wherever it draws.
    const { stdout, stderr } = process;
    const live = stderr.isTTY && stdout.isTTY && stderr.columns >= MIN_LIVE_COLUMNS && !process.env.CI;
    const progress = live ? new LiveProgress() : new PlainProgress((text) => stderr.write(text));
    this.progress = progress;
    options.events = progress.sink;
    return options;
  }

  /** Ends the progress display, so that what follows stands below it. */
  protected async endProgress(): Promise<void> {
    await this.progress?.close();
    this.progress = undefined;
  }

  /** Asks before something is lost. Without a terminal the answer must be on the command line: exit status 2 names `--yes`. */
  protected async confirm(question: string, yes: boolean | undefined): Promise<void> {
    if (yes) return;
    if (!process.stdin.isTTY || this.json) {
      throw new DicicloError('CONFIRMATION_NEEDED', `There is no terminal to confirm this on: ${question}`, {
        exit: ExitStatus.usage,
        hints: ['add --yes'],
      });
    }
    const { createInterface } = await import('node:readline/promises');
    const prompt = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const reply = await prompt.question(
        `${question} [y/N] `,
        this.interrupt ? { signal: this.interrupt.signal } : {},
      );
      if (!/^y(es)?$/i.test(reply.trim()))
        throw new DicicloError('DECLINED', 'Nothing was changed.', { exit: ExitStatus.failed });
    } finally {
      prompt.close();
    }
  }

  /** Reports the error and leaves with its exit status; also for words that do not parse, which oclif would print with its own insides. */
  override async catch(error: Error): Promise<never> {
    await this.endProgress();
    if (error instanceof ExitError) throw error;
    const flags = Object.keys({ ...this.ctor.baseFlags, ...this.ctor.flags });
    const command = (this.ctor.id ?? '').replaceAll(':', ' ');
    const known = toDicicloError(error, { command, flags, interrupted: this.interrupt?.signal.aborted === true });
    if (this.json) this.write(`${JSON.stringify(errorJson(known), null, 2)}\n`);
    else process.stderr.write(errorText(known, (style, text) => this.paint(style, text)));
    throw new ExitError(known.exit);
  }

  override async finally(): Promise<void> {
    await this.endProgress();
    this.interrupt?.release();
    this.interrupt = undefined;
  }
}
