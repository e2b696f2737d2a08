import { DicicloCommand } from '../cli/command.js';
import { outputFlags, watchFlags } from '../cli/flags.js';
import type { View } from '../cli/output.js';
import { renderTable } from '../cli/output.js';
import { poolsView, serversView } from '../cli/views.js';
import type { PoolSummary } from '../engine/types.js';

interface StatusAnswer {
  tenants: { name: string; pools: string[]; appliedAt: string | null }[];
  pools: PoolSummary[];
}

const view: View<StatusAnswer> = {
  text: ({ tenants, pools }, wide) => {
    if (tenants.length === 0 && pools.length === 0) return 'Nothing runs.\n';
    const servers = pools.flatMap((pool) => pool.servers);
    const table = renderTable(
      tenants,
      [
        { title: 'TENANT', value: (tenant) => tenant.name },
        { title: 'POOLS', value: (tenant) => tenant.pools.length },
        { title: 'APPLIED', value: (tenant) => tenant.appliedAt },
      ],
      wide,
    );
    return `${table}\n${poolsView.text(pools, wide)}${servers.length > 0 ? `\n${serversView.text(servers, wide)}` : ''}`;
  },
  names: ({ tenants }) => tenants.map(({ name }) => name),
};

export default class Status extends DicicloCommand {
  static override summary = 'Show tenants, pools and servers';
  static override examples = ['<%= config.bin %> status', '<%= config.bin %> status --watch --json'];
  static override flags = { ...outputFlags, ...watchFlags };

  async run(): Promise<StatusAnswer> {
    const { flags } = await this.parse(Status);
    const engine = await this.engine();
    const get = async () => ({ tenants: await engine.listTenants(), pools: await engine.listPools() });
    return this.watch(get, view, flags);
  }
}
