import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../../cli/command.js';
import { changeFlags, checkName, coresFlag, Flags, sizeFlag, specFlag } from '../../cli/flags.js';
import { requireSpec } from '../../cli/spec.js';
import { DicicloError, ExitStatus, type PoolSpec, type PoolSummary, type TenantSpec } from '../../engine/types.js';

/** Tenant of the pools that name none. */
const DEFAULT_TENANT = 'default';

export default class PoolCreate extends DicicloCommand {
  static override summary = 'Create a pool and start its filesystem service';
  static override description =
    'The cores and memory are reserved for the pool and are its limit too. With -f the pool is described by a tenant spec: the one called NAME, or the only one. For all of a spec use apply.';
  static override examples = [
    '<%= config.bin %> pool create db --cores 2 --memory 1Gi',
    '<%= config.bin %> pool create db --tenant acme --cores 0.5 --memory 512Mi',
    '<%= config.bin %> pool create db -f templates/demo.yaml',
  ];
  static override args = { name: Args.string({ description: 'name of the pool', required: true }) };
  static override flags = {
    tenant: Flags.string({
      description: `tenant that owns the pool (default: that of the spec, else ${DEFAULT_TENANT})`,
      helpValue: 'T',
    }),
    cores: coresFlag('cores', 'cores to reserve, with a fraction'),
    memory: sizeFlag('memory', 'memory to reserve'),
    file: specFlag(),
    ...changeFlags,
  };

  async run(): Promise<PoolSummary> {
    const { args, flags } = await this.parse(PoolCreate);
    const name = checkName('pool', args.name);
    const spec = flags.file === undefined ? undefined : await requireSpec(flags.file);
    const tenant = checkName('tenant', flags.tenant ?? spec?.metadata.name ?? DEFAULT_TENANT);
    const pool = spec ? poolOf(spec, name) : emptyPool(name);
    for (const key of ['cores', 'memory'] as const) {
      const value = flags[key];
      if (value === undefined) continue;
      pool.reserve[key] = value;
      pool.limit[key] = value;
    }
    const summary = await (await this.engine()).createPool(tenant, pool, await this.callOptions(flags));
    await this.endProgress();
    return this.answer(
      summary,
      flags['dry-run'] ? `Pool ${tenant}/${name} can be created.` : `Pool ${tenant}/${name} is ${summary.phase}.`,
    );
  }
}

function emptyPool(name: string): PoolSpec {
  return { name, reserve: {}, limit: {}, weight: 100, trust: 'pool', workers: 0, filesystems: [], servers: [] };
}

/** The pool called `name`, or the only one under that name. */
function poolOf(spec: TenantSpec, name: string): PoolSpec {
  const { pools } = spec.spec;
  const found = pools.find((pool) => pool.name === name) ?? (pools.length === 1 ? pools[0] : undefined);
  if (found) return { ...found, name };
  throw new DicicloError(
    'USAGE',
    `The spec has no pool ${name}; it has ${pools.map((pool) => pool.name).join(', ')}.`,
    { exit: ExitStatus.usage },
  );
}
