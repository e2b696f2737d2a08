/**
 * The JSON Schema (draft-07) of a tenant spec, built from the registry of libservices and server kinds. Published as schemas/v1/tenant.json; compiled to the
 * validators of src/spec/generated at build.
 */
import { type Libservice, type LibserviceOption, libservices } from '../libservices/index.js';
import { processSchema } from '../servers/process.js';
import { CORES_PATTERN, DURATION_PATTERN, MAX_CORES, SIZE_PATTERN } from './quantities.js';

export type JsonSchema = Record<string, unknown>;

export const NAME_PATTERN = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$';
const ref = (name: string): JsonSchema => ({ $ref: `#/definitions/${name}` });

/** An object that takes the named keys and `x-*`. */
function object(properties: Record<string, JsonSchema>, more: JsonSchema = {}): JsonSchema {
  return { type: 'object', properties, patternProperties: { '^x-': {} }, additionalProperties: false, ...more };
}

function optionSchema(option: LibserviceOption): JsonSchema {
  const common = {
    description: option.help,
    ...(option.default === undefined || option.type === 'duration' ? {} : { default: option.default }),
  };
  switch (option.type) {
    case 'size':
      return { ...ref('size'), ...common };
    case 'duration':
      return { ...ref('duration'), ...common };
    case 'path':
      return { type: 'string', minLength: 1, maxLength: 4095, ...common };
    case 'enum':
      return { enum: option.values, ...common };
    case 'integer':
      return {
        type: 'integer',
        minimum: option.minimum ?? Number.MIN_SAFE_INTEGER,
        maximum: option.maximum ?? Number.MAX_SAFE_INTEGER,
        ...common,
      };
    case 'boolean':
      return { type: 'boolean', ...common };
    case 'string':
      return { type: 'string', maxLength: 4095, ...common };
  }
}

/** The options and children of one libservice as a spec writes them: `cache: {size: 64Mi, below: ...}`. */
function libserviceSchema(libservice: Libservice): JsonSchema {
  const properties: Record<string, JsonSchema> = {};
  for (const option of libservice.options) properties[option.name] = optionSchema(option);
  for (const child of libservice.children) properties[child.role] = { ...ref('stack'), description: child.help };
  const required = libservice.options.filter((option) => option.required).map((option) => option.name);
  return object(properties, {
    type: required.length > 0 ? 'object' : ['object', 'null'],
    description: libservice.summary,
    ...(required.length > 0 ? { required } : {}),
  });
}

function stackDefinitions(): Record<string, JsonSchema> {
  return {
    stack: {
      description:
        'From the top down as a list, or one libservice with its children inside it, or the name of another filesystem.',
      type: ['array', 'object', 'string'],
      if: { type: 'array' },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { minItems: 1, maxItems: 32, items: ref('layer') },
      else: ref('layer'),
    },
    layer: {
      type: ['object', 'string'],
      if: { type: 'object' },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: {
        properties: Object.fromEntries(
          libservices.map((libservice) => [libservice.type, libserviceSchema(libservice)]),
        ),
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
      },
      else: { minLength: 1, maxLength: 63 },
    },
  };
}

/** The shared definitions. Titles are what src/spec/check.ts knows them by. */
function definitions(): Record<string, JsonSchema> {
  const all = untitledDefinitions();
  return Object.fromEntries(Object.entries(all).map(([title, definition]) => [title, { title, ...definition }]));
}

function untitledDefinitions(): Record<string, JsonSchema> {
  return {
    name: { type: 'string', pattern: NAME_PATTERN, minLength: 1, maxLength: 63 },
    size: {
      description: 'Bytes, or with a unit: 512Mi, 2Gi.',
      type: ['string', 'integer'],
      pattern: SIZE_PATTERN,
      minimum: 0,
    },
    duration: {
      description: 'With a unit: 500ms, 10s, 1m.',
      type: ['string', 'integer'],
      pattern: DURATION_PATTERN,
      minimum: 0,
      maximum: 0,
    },
    cores: {
      description: 'Cores, with a fraction: 1.5.',
      type: ['number', 'string'],
      pattern: CORES_PATTERN,
      exclusiveMinimum: 0,
      maximum: MAX_CORES,
    },
    rate: { description: 'Operations each second.', type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    weight: { type: 'integer', minimum: 1, maximum: 10_000, default: 100 },
    io: object({ rbps: ref('size'), wbps: ref('size'), riops: ref('rate'), wiops: ref('rate'), weight: ref('weight') }),
    resources: object({ cores: ref('cores'), memory: ref('size'), storage: ref('size'), io: ref('io') }),
    ...stackDefinitions(),
    filesystem: object(
      {
        name: ref('name'),
        mount: { description: 'Absolute path inside the pool.', type: 'string', minLength: 1, maxLength: 4095 },
        host: {
          description: 'Also show the kernel door on the host, at the same path.',
          type: 'boolean',
          default: false,
        },
        door: object({
          cache: {
            description: 'Whether the kernel may cache what it read through the kernel door.',
            enum: ['auto', 'none'],
            default: 'auto',
          },
        }),
        stack: ref('stack'),
      },
      { required: ['name', 'stack'] },
    ),
    server: object({ name: ref('name'), process: processSchema(ref) }, { required: ['name', 'process'] }),
  };
}

function poolProperties(): Record<string, JsonSchema> {
  return {
    name: ref('name'),
    reserve: { ...ref('resources'), description: 'Guaranteed; refused when the machine cannot.' },
    limit: { ...ref('resources'), description: 'Never exceeded.' },
    weight: { ...ref('weight'), description: 'Share of what is spare, against other pools.' },
    trust: {
      description: 'Who may be hostile to whom: processes of the pool share a queue (pool), or not (process).',
      enum: ['pool', 'process'],
      default: 'pool',
    },
    workers: {
      description: 'Worker threads of the service; 0: chosen from the cores.',
      type: 'integer',
      minimum: 0,
      maximum: 64,
      default: 0,
    },
    filesystems: { type: 'array', maxItems: 64, items: ref('filesystem') },
    servers: { type: 'array', maxItems: 64, items: ref('server') },
  };
}

/** The whole schema. `spec` holds `pools`, or (short form) the keys of one pool. */
export function tenantSchema(): JsonSchema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'urn:diciclo:v1:tenant',
    title: 'Diciclo tenant',
    description: 'What a tenant has on one machine: container pools with their reservations, filesystems and servers.',
    ...object(
      {
        $schema: { type: 'string' },
        apiVersion: { const: 'diciclo/v1' },
        kind: { const: 'Tenant' },
        metadata: object(
          {
            name: ref('name'),
            labels: { type: 'object', maxProperties: 64, additionalProperties: { type: 'string', maxLength: 255 } },
          },
          { required: ['name'] },
        ),
        spec: {
          type: 'object',
          minProperties: 1,
          if: { required: ['pools'] },
          // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
          then: object({ pools: { type: 'array', minItems: 1, maxItems: 64, items: ref('pool') } }),
          else: ref('shortPool'),
        },
      },
      { required: ['apiVersion', 'kind', 'metadata', 'spec'] },
    ),
    definitions: {
      ...definitions(),
      pool: object(poolProperties(), { required: ['name'] }),
      shortPool: object(poolProperties(), { description: 'Short form for one pool; its name is `main` unless said.' }),
    },
  };
}

/** A stack alone, as `fs mount --stack` takes it. */
export function stackSchema(): JsonSchema {
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'urn:diciclo:v1:stack',
    ...ref('stack'),
    definitions: definitions(),
  };
}
