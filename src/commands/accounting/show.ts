import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { accountingView } from '../../cli/views.js';
import type { Accounting } from '../../engine/types.js';

export default class AccountingShow extends DicicloCommand {
  static override summary = 'Show what a pool has used, from its control groups';
  static override description =
    'Service, servers and commands are all charged to the pool. Memory and I/O in bytes, CPU in seconds.';
  static override examples = [
    '<%= config.bin %> accounting show db',
    '<%= config.bin %> accounting show acme/db --json',
  ];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = { ...outputFlags };

  async run(): Promise<Accounting> {
    const { args, flags } = await this.parse(AccountingShow);
    return this.show(await (await this.engine()).accounting(args.pool), accountingView, flags);
  }
}
