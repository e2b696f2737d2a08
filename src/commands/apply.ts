import { DicicloCommand } from '../cli/command.js';
import { changeFlags, specFlag } from '../cli/flags.js';
import { requireSpec } from '../cli/spec.js';
import { type ActionsAnswer, actionsText } from '../cli/views.js';

export default class Apply extends DicicloCommand {
  static override summary = 'Make what runs match a tenant spec';
  static override description =
    'Creates, changes and removes pools, filesystems and servers until they are what the spec says. The same command again changes nothing; after an interruption it finishes the job.';
  static override examples = [
    '<%= config.bin %> apply -f templates/demo.yaml',
    '<%= config.bin %> apply -f tenant.yaml --dry-run',
    '<%= config.bin %> apply -f tenant.yaml --timeout 1m --json',
  ];
  static override flags = { file: specFlag(), ...changeFlags };

  async run(): Promise<ActionsAnswer> {
    const { flags } = await this.parse(Apply);
    const spec = await requireSpec(flags.file);
    const engine = await this.engine();
    const dryRun = flags['dry-run'];
    const actions = dryRun ? await engine.plan(spec) : await engine.apply(spec, await this.callOptions(flags));
    await this.endProgress();
    const tenant = spec.metadata.name;
    const end = dryRun ? `Tenant ${tenant}: nothing was changed (dry run).` : `Tenant ${tenant} is as the spec says.`;
    const sentence = actions.length === 0 ? `Tenant ${tenant}: nothing to do.` : `${actionsText(actions)}${end}`;
    return this.answer({ tenant, changed: actions.length > 0 && !dryRun, actions }, sentence);
  }
}
