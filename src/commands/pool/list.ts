import { DicicloCommand } from '../../cli/command.js';
import { outputFlags, watchFlags } from '../../cli/flags.js';
import { poolsView } from '../../cli/views.js';
import type { PoolSummary } from '../../engine/types.js';

export default class PoolList extends DicicloCommand {
  static override summary = 'List the pools of this machine';
  static override examples = [
    '<%= config.bin %> pool list',
    '<%= config.bin %> pool list -o wide',
    '<%= config.bin %> pool list --json',
  ];
  static override flags = { ...outputFlags, ...watchFlags };

  async run(): Promise<readonly PoolSummary[]> {
    const { flags } = await this.parse(PoolList);
    const engine = await this.engine();
    return this.watch(() => engine.listPools(), poolsView, flags);
  }
}
