/** oclif's hook for words that name no command. */
import type { Hook } from '@oclif/core/hooks';
import { DicicloError, ExitStatus } from '../engine/types.js';
import { suggest } from '../spec/suggest.js';

const hook: Hook<'command_not_found'> = async ({ id, config }) => {
  const words = id.replaceAll(':', ' ');
  const commands = config.commandIDs.map((command) => command.replaceAll(':', ' '));
  const guess =
    suggest(words, commands) ??
    suggest(words.split(' ')[0] as string, new Set(commands.map((command) => command.split(' ')[0] as string)));
  throw new DicicloError(
    'USAGE',
    `There is no command "${words.slice(0, 80)}"${guess ? `; did you mean "${guess}"?` : '.'}`,
    {
      exit: ExitStatus.usage,
      hints: ['diciclo --help'],
    },
  );
};

export default hook;
