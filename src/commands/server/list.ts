import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { outputFlags, watchFlags } from '../../cli/flags.js';
import { serversView } from '../../cli/views.js';
import type { ServerSummary } from '../../engine/types.js';

export default class ServerList extends DicicloCommand {
  static override summary = 'List storage servers with their state and health';
  static override examples = ['<%= config.bin %> server list', '<%= config.bin %> server list db --watch'];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME; all pools without it' }) };
  static override flags = { ...outputFlags, ...watchFlags };

  async run(): Promise<readonly ServerSummary[]> {
    const { args, flags } = await this.parse(ServerList);
    const engine = await this.engine();
    return this.watch(() => engine.listServers(args.pool), serversView, flags);
  }
}
