import { DicicloCommand } from '../cli/command.js';
import { Flags, outputFlags } from '../cli/flags.js';
import { copyView } from '../cli/service-views.js';
import type { CopyProfile, TuneMode } from '../engine/tune.js';

export default class Tune extends DicicloCommand {
  static override summary = 'Find the fastest copy routines of this machine';
  static override description =
    "Measures how long it takes to pass data between two processes, by direction and size class, with every routine that this CPU has, and stores for each what beat glibc's memcpy twice by 3 %. It takes some seconds and keeps two cores busy. Services use the profile from their next start on (`service upgrade` starts one anew without a lost request).";
  static override examples = [
    '<%= config.bin %> tune',
    'Measure, and store nothing:\n\n<%= config.bin %> tune --dry-run',
    'What is stored, and whether it fits this CPU:\n\n<%= config.bin %> tune --show --json',
    "Back to glibc's memcpy:\n\n<%= config.bin %> tune --reset",
  ];
  static override flags = {
    'dry-run': Flags.boolean({ description: 'measure, but do not store the profile', exclusive: ['show', 'reset'] }),
    show: Flags.boolean({ description: 'show the stored profile', exclusive: ['dry-run', 'reset'] }),
    reset: Flags.boolean({ description: 'remove the stored profile', exclusive: ['dry-run', 'show'] }),
    ...outputFlags,
  };

  /** Tests put a fake in its place. */
  static tune: (mode: TuneMode) => Promise<CopyProfile> = async (mode) =>
    (await import('../engine/tune.js')).tune(mode);

  async run(): Promise<CopyProfile> {
    const { flags } = await this.parse(Tune);
    const mode = flags['dry-run'] ? 'dry-run' : flags.show ? 'show' : flags.reset ? 'reset' : 'measure';
    if (mode === 'measure' || mode === 'dry-run')
      this.say('Measuring; other work on this machine makes it longer and less exact ...');
    return this.show(await Tune.tune(mode), copyView, flags);
  }
}
