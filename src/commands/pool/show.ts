import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags } from '../../cli/flags.js';
import { poolView } from '../../cli/views.js';
import type { PoolSummary } from '../../engine/types.js';

export default class PoolShow extends DicicloCommand {
  static override summary = 'Show one pool: its reservation, service, mounts and servers';
  static override description =
    'With --json, `service.pid` is the filesystem service as the host sees it, and `cgroups` the control groups by controller.';
  static override examples = ['<%= config.bin %> pool show db', '<%= config.bin %> pool show acme/db --json'];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = { ...outputFlags };

  async run(): Promise<PoolSummary> {
    const { args, flags } = await this.parse(PoolShow);
    return this.show(await (await this.engine()).showPool(args.pool), poolView, flags);
  }
}
