import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { libservices } from '../../src/libservices/index.js';
import { schemaText } from '../../src/spec/generate.js';
import { tenantSchema } from '../../src/spec/schema.js';

const checkout = path.resolve(import.meta.dirname, '../..');

describe('schemas/v1/tenant.json', () => {
  it('is what the sources say (npm run schema writes it)', () => {
    expect(readFileSync(path.join(checkout, 'schemas/v1/tenant.json'), 'utf8')).toBe(schemaText());
  });

  it('is a draft-07 schema that an editor can use', () => {
    const ajv = new Ajv({ allowUnionTypes: true, strict: false });
    expect(ajv.validateSchema(tenantSchema())).toBe(true);
    const validate = ajv.compile(tenantSchema());
    for (const template of ['demo', 'minimal']) {
      expect(validate(parse(readFileSync(path.join(checkout, `templates/${template}.yaml`), 'utf8'))), template).toBe(
        true,
      );
    }
  });

  it('knows every libservice with every option and child', () => {
    const definitions = tenantSchema().definitions as Record<
      string,
      { then: { properties: Record<string, { properties: object }> } }
    >;
    const layers = definitions.layer?.then.properties ?? {};
    expect(Object.keys(layers)).toEqual(libservices.map(({ type }) => type));
    for (const { type, options, children } of libservices) {
      const keys = [...options.map(({ name }) => name), ...children.map(({ role }) => role)];
      expect(Object.keys(layers[type]?.properties ?? {})).toEqual(keys);
    }
  });
});
