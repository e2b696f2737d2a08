/** The options that several commands share. */
import * as Flags from '@oclif/core/flags';
import { DicicloError, ExitStatus } from '../engine/types.js';
import { parseCores, parseDuration, parseSize } from '../spec/quantities.js';

export { Flags };

/** Names of pools, tenants and filesystems. */
export const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

function badValue(flag: string, expected: string, text: string): DicicloError {
  return new DicicloError('USAGE', `--${flag} must be ${expected}, and "${text.slice(0, 80)}" is not.`, {
    exit: ExitStatus.usage,
  });
}

/** Refuses what cannot be the name of a `what`. */
export function checkName(what: string, name: string): string {
  if (name.length <= 63 && NAME.test(name)) return name;
  throw new DicicloError(
    'USAGE',
    `"${name.slice(0, 80)}" is no name of a ${what}: lower-case letters, digits and "-", at most 63, with a letter or digit at both ends.`,
    {
      exit: ExitStatus.usage,
    },
  );
}

/** Bytes. */
export function sizeFlag(name: string, description: string) {
  return Flags.custom<number>({
    description,
    helpValue: 'SIZE',
    parse: async (text) => {
      const bytes = parseSize(/^[0-9]+$/.test(text) ? Number(text) : text);
      if (bytes === undefined || bytes === 0) throw badValue(name, 'a size like 512Mi or 2Gi', text);
      return bytes;
    },
  })();
}

export function coresFlag(name: string, description: string) {
  return Flags.custom<number>({
    description,
    helpValue: 'N',
    parse: async (text) => {
      const cores = parseCores(text);
      if (cores === undefined) throw badValue(name, 'a number of cores like 2 or 1.5', text);
      return cores;
    },
  })();
}

/** Milliseconds. */
export function durationFlag(name: string, description: string, fallback?: number) {
  return Flags.custom<number>({
    description,
    helpValue: 'TIME',
    ...(fallback === undefined ? {} : { default: async () => fallback }),
    parse: async (text) => {
      const milliseconds = parseDuration(text);
      if (!milliseconds) throw badValue(name, 'a time like 500ms, 10s or 1m', text);
      return milliseconds;
    },
  })();
}

export const specFlag = () =>
  Flags.string({ char: 'f', description: 'tenant spec to read; - is standard input', helpValue: 'SPEC' });

/** Of commands that change something. */
export const changeFlags = {
  'dry-run': Flags.boolean({ description: 'check everything and change nothing' }),
  timeout: durationFlag('timeout', 'give up after this time (exit status 8)'),
};

export const yesFlag = { yes: Flags.boolean({ char: 'y', description: 'do not ask' }) };

/** Of commands that list or show something. */
export const outputFlags = {
  output: Flags.option({
    char: 'o',
    description: 'how to print the answer',
    options: ['table', 'wide', 'json', 'yaml', 'name'] as const,
  })(),
};

/** Of commands whose answer changes with time. */
export const watchFlags = {
  watch: Flags.boolean({
    char: 'w',
    description: 'print it again and again until Ctrl-C; with --json one line each time',
  }),
  interval: durationFlag('interval', 'time between two prints with --watch', 2000),
};
