/**
 * Second step of validation: the shape. Runs a precompiled validator and turns what it says into problems with a place, a plain sentence and a did-you-mean.
 */
import type { ErrorObject } from 'ajv';
import { libservices, plannedLibservices } from '../libservices/index.js';
import { plannedServers } from '../servers/index.js';
import type { SpecDocument } from './document.js';
import validators from './generated/validators.cjs';
import { type Path, type Problem, pathText } from './problems.js';
import { suggest } from './suggest.js';

/** More than anyone reads; the error says how many there were in all up to here. */
const MAX_PROBLEMS = 1000;

/** Says of each place of `document` that does not fit the schema what was expected there. */
export function checkShape(document: SpecDocument, what: 'tenant' | 'stack'): Problem[] {
  const validate = validators[what];
  if (validate(document.data)) return [];
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const error of (validate.errors ?? []).slice(0, MAX_PROBLEMS * 4)) {
    if (error.keyword === 'if') continue;
    const path = pointerPath(error.instancePath, document.data);
    const problem = describe(error, path, document);
    // A value of the wrong type breaks several rules of one place: the first says it best.
    const id = error.keyword === 'type' ? `${problem.path} type` : `${problem.path} ${problem.message}`;
    if (seen.has(id)) continue;
    seen.add(id);
    problems.push(problem);
    if (problems.length >= MAX_PROBLEMS) break;
  }
  return problems;
}

/** JSON pointer to path; indexes of lists become numbers. */
function pointerPath(pointer: string, data: unknown): Path {
  const path: (string | number)[] = [];
  let value = data;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    const step = Array.isArray(value) ? Number(key) : key;
    path.push(step);
    value = (value as Record<string | number, unknown> | undefined)?.[step];
  }
  return path;
}

function describe(error: ErrorObject, path: Path, document: SpecDocument): Problem {
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownKey(String(params.additionalProperty), path, document, knownKeys(error, path));
    case 'required':
      return document.problem(path, missingKey(String(params.missingProperty), path));
    case 'propertyNames':
      return document.problem(
        path,
        `"${String(params.propertyName).slice(0, 80)}" is no name of an environment variable`,
        { key: String(params.propertyName) },
      );
    case 'enum': {
      const values = params.allowedValues as string[];
      const guess = suggest(String(error.data), values);
      return document.problem(
        path,
        `must be one of: ${values.filter((value) => !value.startsWith('SIG')).join(', ')}`,
        guess ? { hint: `did you mean "${guess}"?` } : {},
      );
    }
    case 'const':
      return document.problem(path, `must be "${String(params.allowedValue)}"`);
    case 'minProperties':
    case 'maxProperties':
      return document.problem(path, sizeOfMap(path));
    case 'minItems':
      return document.problem(path, `needs at least ${params.limit} ${params.limit === 1 ? 'entry' : 'entries'}`);
    case 'maxItems':
      return document.problem(path, `has more than ${params.limit} entries`);
    case 'pattern':
    case 'type':
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
      return document.problem(path, expected(error));
    case 'minLength':
      return document.problem(path, 'must not be empty');
    case 'maxLength':
      return document.problem(path, `must be at most ${params.limit} characters long`);
    default:
      return document.problem(path, error.message ?? 'does not fit');
  }
}

function missingKey(key: string, path: Path): string {
  const parent = path.at(-1);
  const option = typeof parent === 'string' && libservices.some((libservice) => libservice.type === parent);
  return option ? `\`${parent}\` needs the option "${key}"` : `the key "${key}" is missing`;
}

function sizeOfMap(path: Path): string {
  if (pathText(path) === 'spec') return 'says nothing; give it `pools`';
  return 'must name one libservice, with its options: {cache: {size: 64Mi}}; a stack of several is a list, from the top down';
}

/** Keys the schema allows where an additionalProperties error stood. */
function knownKeys(error: ErrorObject, path: Path): string[] {
  const keys = Object.keys((error.parentSchema?.properties as object | undefined) ?? {});
  return pathText(path) === 'spec' && !keys.includes('pools') ? ['pools', ...keys] : keys;
}

function unknownKey(key: string, path: Path, document: SpecDocument, known: string[]): Problem {
  const shownKey = key.slice(0, 80);
  const isLayer = known.length > 0 && known.every((name) => libservices.some((libservice) => libservice.type === name));
  if (isLayer) {
    const names = libservices.map((libservice) => libservice.type).join(', ');
    if (plannedLibservices.includes(key))
      return document.problem(path, `the libservice "${key}" is not part of this version, which has: ${names}`, {
        key,
      });
    const guess = suggest(key, known);
    return document.problem(path, `there is no libservice "${shownKey}"`, {
      key,
      hint: guess ? `did you mean "${guess}"?` : `this version has: ${names}`,
    });
  }
  if (key === 'containers' && known.includes('servers')) {
    return document.problem(
      path,
      'containers are not part of this version; programs of the host run in the pool as servers, or with diciclo run',
      { key },
    );
  }
  if (known.includes('process') && plannedServers.includes(key)) {
    return document.problem(path, `the server kind "${key}" is not part of this version, which has: process`, { key });
  }
  const guess = suggest(key, known);
  return document.problem(path, `unknown key "${shownKey}"`, {
    key,
    hint: guess ? `did you mean "${guess}"?` : `known here: ${known.join(', ') || 'none'}`,
  });
}

const WORDS: Record<string, string> = {
  name: 'must be lower-case letters, digits and "-", at most 63, with a letter or digit at both ends',
  size: 'must be a size: a whole number of bytes, or with a unit, like 512Mi or 2Gi',
  duration: 'must be a duration with its unit, like 500ms, 10s or 1m',
  cores: 'must be a number of cores above 0, like 2 or 1.5',
  rate: 'must be a whole number of operations each second, at least 1',
  weight: 'must be a whole number from 1 to 10000',
  stack: 'must be a stack: a list of libservices from the top down, one libservice, or the name of another filesystem',
  layer: 'must be a libservice with its options, like {cache: {size: 64Mi}}, or a name',
};

const TYPES: Record<string, string> = {
  object: 'a map',
  array: 'a list',
  string: 'text',
  integer: 'a whole number',
  boolean: 'true or false',
};

/** What a value of the wrong type, form or size should have been. */
function expected(error: ErrorObject): string {
  const { data, keyword, parentSchema } = error;
  const words = WORDS[String(parentSchema?.title)];
  if (words) return words;
  if (keyword === 'type') {
    const types = [error.params.type as string | string[]].flat();
    if (types.includes('string') && (typeof data === 'number' || typeof data === 'boolean')) {
      return `must be text; put quotes around it: "${String(data)}"`;
    }
    const names = types.filter((type) => type !== 'null').map((type) => TYPES[type] ?? type);
    return `must be ${names.join(' or ')}${data === null ? ', not empty' : ''}`;
  }
  if (typeof parentSchema?.minimum === 'number' && typeof parentSchema.maximum === 'number') {
    return `must be from ${parentSchema.minimum} to ${parentSchema.maximum}`;
  }
  return error.message ?? 'does not fit';
}
