import { DicicloCommand } from '../cli/command.js';
import { Flags, outputFlags, specFlag } from '../cli/flags.js';
import { requireSpec } from '../cli/spec.js';
import { type ActionsAnswer, actionsNames, actionsText } from '../cli/views.js';
import { ExitStatus } from '../engine/types.js';

export default class Plan extends DicicloCommand {
  static override summary = 'Show what apply would do';
  static override description =
    'Compares a tenant spec with what runs and with the size of this machine, and changes nothing.';
  static override examples = [
    '<%= config.bin %> plan -f templates/demo.yaml',
    'Exit status 5 when something differs, for scripts:\n\n<%= config.bin %> plan -f tenant.yaml --exit-code -q',
  ];
  static override flags = {
    file: specFlag(),
    'exit-code': Flags.boolean({ description: 'exit status 5 when apply would change something' }),
    ...outputFlags,
  };

  async run(): Promise<ActionsAnswer> {
    const { flags } = await this.parse(Plan);
    const spec = await requireSpec(flags.file);
    const actions = await (await this.engine()).plan(spec);
    const tenant = spec.metadata.name;
    const answer = await this.show(
      { tenant, changed: actions.length > 0, actions },
      {
        text: () => (actions.length === 0 ? `Tenant ${tenant}: nothing to do.\n` : actionsText(actions)),
        names: actionsNames,
      },
      flags,
    );
    if (flags['exit-code'] && actions.length > 0) this.exit(ExitStatus.differences);
    return answer;
  }
}
