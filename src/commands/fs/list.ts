import { DicicloCommand } from '../../cli/command.js';
import { outputFlags, watchFlags } from '../../cli/flags.js';
import { mountsView } from '../../cli/views.js';
import type { MountSummary } from '../../engine/types.js';

export default class FsList extends DicicloCommand {
  static override summary = 'List the mounted filesystems of all pools';
  static override examples = ['<%= config.bin %> fs list', '<%= config.bin %> fs list -o name'];
  static override flags = { ...outputFlags, ...watchFlags };

  async run(): Promise<readonly MountSummary[]> {
    const { flags } = await this.parse(FsList);
    const engine = await this.engine();
    return this.watch(() => engine.listMounts(), mountsView, flags);
  }
}
