import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { changeFlags, yesFlag } from '../../cli/flags.js';

export default class PoolDestroy extends DicicloCommand {
  static override summary = 'End everything in a pool and remove it';
  static override description = 'The directories below its stacks keep their data.';
  static override examples = [
    '<%= config.bin %> pool destroy db',
    '<%= config.bin %> pool destroy acme/db --yes --timeout 30s',
  ];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }) };
  static override flags = { ...yesFlag, ...changeFlags };

  async run(): Promise<{ pool: string; destroyed: boolean }> {
    const { args, flags } = await this.parse(PoolDestroy);
    const engine = await this.engine();
    const { tenant, pool } = await engine.resolvePool(args.pool);
    const name = `${tenant}/${pool}`;
    const dryRun = flags['dry-run'] === true;
    if (!dryRun) await this.confirm(`Destroy pool ${name} and end everything that runs in it?`, flags.yes);
    await engine.destroyPool(name, await this.callOptions(flags));
    await this.endProgress();
    return this.answer(
      { pool: name, destroyed: !dryRun },
      dryRun ? `Pool ${name} can be destroyed.` : `Pool ${name} is gone.`,
    );
  }
}
