import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { changeFlags, Flags } from '../../cli/flags.js';

export default class FsUnmount extends DicicloCommand {
  static override summary = 'Unmount a filesystem of a pool';
  static override description =
    'Refused while files are open (exit status 4), unless --force: those descriptors then answer errors.';
  static override examples = ['<%= config.bin %> fs unmount db /data', '<%= config.bin %> fs unmount db /data --force'];
  static override args = {
    pool: Args.string({ description: 'pool, as NAME or TENANT/NAME', required: true }),
    mountpoint: Args.string({ description: 'where it is mounted', required: true }),
  };
  static override flags = { force: Flags.boolean({ description: 'also while files are open' }), ...changeFlags };

  async run(): Promise<{ pool: string; mountpoint: string; unmounted: boolean }> {
    const { args, flags } = await this.parse(FsUnmount);
    const engine = await this.engine();
    const { tenant, pool } = await engine.resolvePool(args.pool);
    const name = `${tenant}/${pool}`;
    await engine.unmount(name, args.mountpoint, { ...(await this.callOptions(flags)), force: flags.force === true });
    await this.endProgress();
    const unmounted = flags['dry-run'] !== true;
    return this.answer(
      { pool: name, mountpoint: args.mountpoint, unmounted },
      unmounted
        ? `${args.mountpoint} of pool ${name} is unmounted.`
        : `${args.mountpoint} of pool ${name} can be unmounted.`,
    );
  }
}
