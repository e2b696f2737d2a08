import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { stackView } from '../../cli/service-views.js';

export default class StackShow extends DicicloCommand {
  static override summary = 'Show the layers of a mounted stack, with their options and counters';
  static override examples = [
    '<%= config.bin %> stack show db /data',
    '<%= config.bin %> stack show acme/db /data --json',
  ];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
    mountpoint: Args.string({ description: 'where it is mounted', required: true }),
  };
  static override flags = { ...outputFlags };

  async run(): Promise<Record<string, unknown>> {
    const { args, flags } = await this.parse(StackShow);
    return this.show(await (await this.engine()).stack(args.pool, args.mountpoint), stackView, flags);
  }
}
