import { readFile } from 'node:fs/promises';
import path from 'node:path';
import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../cli/command.js';
import { checkName, outputFlags, specFlag } from '../cli/flags.js';
import { requireSpec } from '../cli/spec.js';
import { DicicloError, ExitStatus, type TenantSpec } from '../engine/types.js';

export default class Export extends DicicloCommand {
  static override summary = 'Print a tenant spec in its full form';
  static override description =
    'Short forms are written out and every default is filled in. Without -f it is what was last applied.';
  static override examples = [
    '<%= config.bin %> export -f templates/minimal.yaml',
    '<%= config.bin %> export demo > demo.yaml',
  ];
  static override args = { tenant: Args.string({ description: 'applied tenant to print' }) };
  static override flags = { file: specFlag(), ...outputFlags };

  async run(): Promise<object> {
    const { args, flags } = await this.parse(Export);
    if ((args.tenant === undefined) === (flags.file === undefined)) {
      throw new DicicloError('USAGE', 'Name an applied tenant, or a spec with -f, but not both.', {
        exit: ExitStatus.usage,
        hints: ['diciclo status', 'diciclo export -f tenant.yaml'],
      });
    }
    const spec =
      args.tenant === undefined ? await requireSpec(flags.file) : await this.applied(checkName('tenant', args.tenant));
    const { exportTenant } = await import('../spec/index.js');
    const { stringify } = await import('yaml');
    return this.show(
      exportTenant(spec),
      { text: (value) => stringify(value), names: () => [spec.metadata.name] },
      flags,
    );
  }

  private async applied(tenant: string): Promise<TenantSpec> {
    const file = path.join((await this.engine()).runtimeDirectory, 'tenants', `${tenant}.json`);
    try {
      return (JSON.parse(await readFile(file, 'utf8')) as { spec: TenantSpec }).spec;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      throw new DicicloError('TENANT_NOT_FOUND', `There is no tenant ${tenant}.`, {
        exit: ExitStatus.notFound,
        hints: ['diciclo status'],
        cause,
      });
    }
  }
}
