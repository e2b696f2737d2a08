/**
 * Run by `npm run build`: writes the precompiled validators, so that no command pays for compiling a schema. `npm run schema` also writes
 * schemas/v1/tenant.json, which is committed; a test compares it with the sources.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import standaloneModule from 'ajv/dist/standalone/index.js';
import { stackSchema, tenantSchema } from './schema.js';

const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** The text of schemas/v1/tenant.json. */
export function schemaText(): string {
  return `${JSON.stringify(tenantSchema(), null, 2)}\n`;
}

/** The text of a CommonJS module with the functions `tenant` and `stack`. */
export function validatorsText(): string {
  const ajv = new Ajv({
    allErrors: true,
    allowUnionTypes: true,
    strictRequired: false,
    strictTypes: false,
    verbose: true,
    code: { source: true },
  });
  ajv.addSchema(tenantSchema());
  ajv.addSchema(stackSchema());
  return standaloneModule.default(ajv, { tenant: 'urn:diciclo:v1:tenant', stack: 'urn:diciclo:v1:stack' });
}

function write(file: string, text: string): void {
  mkdirSync(path.dirname(path.join(checkout, file)), { recursive: true });
  writeFileSync(path.join(checkout, file), text);
}

/** The validators go where the sources and the built files look for them. */
export function writeValidators(): void {
  for (const folder of ['src', 'dist']) write(`${folder}/spec/generated/validators.cjs`, validatorsText());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeValidators();
  if (process.argv.includes('--schema')) write('schemas/v1/tenant.json', schemaText());
}
