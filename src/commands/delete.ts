import * as Args from '@oclif/core/args';
import { DicicloCommand } from '../cli/command.js';
import { changeFlags, checkName, specFlag, yesFlag } from '../cli/flags.js';
import { requireSpec } from '../cli/spec.js';
import { type ActionsAnswer, actionsText } from '../cli/views.js';
import { DicicloError, ExitStatus } from '../engine/types.js';

export default class Delete extends DicicloCommand {
  static override summary = 'Remove a tenant: its pools, mounts and servers';
  static override description =
    'Ends every process of the tenant and leaves no mount, control group, shared memory or file of Diciclo behind. The directories below the stacks keep their data.';
  static override examples = [
    '<%= config.bin %> delete -f templates/demo.yaml',
    '<%= config.bin %> delete demo --yes',
    '<%= config.bin %> delete demo --dry-run',
  ];
  static override args = { tenant: Args.string({ description: 'tenant to remove, when there is no spec to name it' }) };
  static override flags = { file: specFlag(), ...yesFlag, ...changeFlags };

  async run(): Promise<ActionsAnswer> {
    const { args, flags } = await this.parse(Delete);
    if ((args.tenant === undefined) === (flags.file === undefined)) {
      throw new DicicloError('USAGE', 'Name the tenant, or a spec with -f, but not both.', {
        exit: ExitStatus.usage,
        hints: ['diciclo delete --help'],
      });
    }
    const tenant =
      args.tenant === undefined ? (await requireSpec(flags.file)).metadata.name : checkName('tenant', args.tenant);
    // A file that spells out the tenant is confirmation enough, for scripts that have no terminal.
    const sure = flags.yes || flags.file !== undefined;
    if (!flags['dry-run']) await this.confirm(`Remove tenant ${tenant} and end everything that runs in it?`, sure);
    const actions = await (await this.engine()).deleteTenant(tenant, await this.callOptions(flags));
    await this.endProgress();
    const dryRun = flags['dry-run'];
    const end = dryRun ? `Tenant ${tenant}: nothing was changed (dry run).` : `Tenant ${tenant} is gone.`;
    const sentence = actions.length === 0 ? `Tenant ${tenant}: nothing to do.` : `${actionsText(actions)}${end}`;
    return this.answer({ tenant, changed: actions.length > 0 && !dryRun, actions }, sentence);
  }
}
