import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { queueView } from '../../cli/service-views.js';

export default class QueueShow extends DicicloCommand {
  static override summary = "Show a pool's request queue and its workers";
  static override examples = ['<%= config.bin %> queue show db', '<%= config.bin %> queue show db --json'];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = { ...outputFlags };

  async run(): Promise<Record<string, unknown>> {
    const { args, flags } = await this.parse(QueueShow);
    return this.show(await (await this.engine()).queue(args.pool), queueView, flags);
  }
}
