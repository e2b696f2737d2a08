import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../cli/command.js';
import { Flags, outputFlags, watchFlags } from '../cli/flags.js';
import type { View } from '../cli/output.js';
import { statsText } from '../cli/service-views.js';

type PoolStats = Record<string, unknown> & { pool: string };

const oneView: View<PoolStats> = { text: statsText, names: (stats) => [stats.pool] };
const allView: View<PoolStats[]> = {
  text: (all) => (all.length === 0 ? 'No pool runs.\n' : all.map(statsText).join('\n')),
  names: (all) => all.map(({ pool }) => pool),
};

export default class Stats extends DicicloCommand {
  static override summary = 'Show the counters of filesystem services';
  static override description =
    'Operations by door (the library through shared memory, or the kernel door), the layers of each stack, clients, and the calls that a library left to the kernel door. With POOL one object is printed, without it a list of those of all running pools.';
  static override examples = [
    '<%= config.bin %> stats db',
    '<%= config.bin %> stats db --watch --interval 1s --json',
    'Start counting from zero:\n\n<%= config.bin %> stats db --reset',
  ];
  static override args = { pool: Args.string({ description: 'pool, as NAME or TENANT/NAME; all pools without it' }) };
  static override flags = {
    reset: Flags.boolean({ description: 'set the counters to zero after printing them' }),
    ...outputFlags,
    ...watchFlags,
  };

  async run(): Promise<object> {
    const { args, flags } = await this.parse(Stats);
    const engine = await this.engine();
    const one = async (name: string): Promise<PoolStats> => {
      const { tenant, pool } = await engine.resolvePool(name);
      const stats = await engine.stats(name);
      if (flags.reset) await engine.resetStats(name);
      return { pool: `${tenant}/${pool}`, ...stats };
    };
    const named = args.pool;
    if (named !== undefined) return this.watch(() => one(named), oneView, flags);
    const all = async () => {
      const running = (await engine.listPools()).filter((pool) => pool.phase === 'running');
      return Promise.all(running.map((pool) => one(pool.name)));
    };
    return this.watch(all, allView, flags);
  }
}
