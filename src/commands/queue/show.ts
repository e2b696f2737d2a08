import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags, watchFlags } from '../../cli/flags.js';
import { queueRates, queueView } from '../../cli/service-views.js';

export default class QueueShow extends DicicloCommand {
  static override summary = "Show a pool's request queue, or mailboxes, and its workers";
  static override description =
    'How many requests wait, how workers waited for them (spins, of which caught a request; sleeps, of which a client rang), wake-ups sent, and what dead or hostile processes cost (invalidated tickets, spurious rings). With --watch, rates since the last print too.';
  static override examples = [
    '<%= config.bin %> queue show db',
    '<%= config.bin %> queue show db --watch --interval 1s',
    '<%= config.bin %> queue show db --json',
  ];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = { ...outputFlags, ...watchFlags };

  async run(): Promise<Record<string, unknown>> {
    const { args, flags } = await this.parse(QueueShow);
    const engine = await this.engine();
    let before: { at: number; queue: Record<string, unknown> } | undefined;
    const get = async () => {
      const queue = await engine.queue(args.pool);
      const at = performance.now();
      const rates = before ? { perSecond: queueRates(before.queue, queue, (at - before.at) / 1000) } : {};
      before = { at, queue };
      return { ...queue, ...rates };
    };
    return this.watch(get, queueView, flags);
  }
}
