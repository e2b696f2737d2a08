import { DicicloCommand } from '../../cli/command.js';

export default class SchemaTenant extends DicicloCommand {
  static override summary = 'Print the JSON Schema of a tenant spec';
  static override description = 'Draft-07, for editors and other tools; the same as schemas/v1/tenant.json.';
  static override examples = [
    '<%= config.bin %> schema tenant',
    '<%= config.bin %> schema tenant > tenant.schema.json',
  ];

  async run(): Promise<object> {
    await this.parse(SchemaTenant);
    const { tenantSchema } = await import('../../spec/schema.js');
    const schema = tenantSchema();
    this.write(`${JSON.stringify(schema, null, 2)}\n`);
    return schema;
  }
}
