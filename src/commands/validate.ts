import { DicicloCommand } from '../cli/command.js';
import { specFlag } from '../cli/flags.js';
import { requireSpec } from '../cli/spec.js';

export default class Validate extends DicicloCommand {
  static override summary = 'Check a tenant spec without looking at this machine';
  static override description =
    'Reads the YAML, checks it against the schema and then its meaning (names, mount points, stacks, references). Every problem is shown with its line and column. `diciclo plan` also checks it against this machine.';
  static override examples = [
    '<%= config.bin %> validate -f templates/demo.yaml',
    'cat tenant.yaml | <%= config.bin %> validate -f - --json',
  ];
  static override flags = { file: specFlag() };

  async run(): Promise<object> {
    const { flags } = await this.parse(Validate);
    const spec = await requireSpec(flags.file);
    const pools = spec.spec.pools.map((pool) => pool.name);
    return this.answer(
      { valid: true, file: flags.file, tenant: spec.metadata.name, pools },
      `${flags.file} is valid: tenant ${spec.metadata.name}, ${pools.length === 1 ? 'pool' : 'pools'} ${pools.join(', ')}.`,
    );
  }
}
