/** The two halves of each libservice, TypeScript and native, must say the same of its options, children and statistics (docs/contract.md §7). */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { libservices } from '../../src/libservices/index.js';

const build = process.env.DICICLO_BUILD_DIR ?? path.resolve(import.meta.dirname, '../../build');

interface Described {
  type: string;
  kind: string;
  version: number;
  options: { name: string; type: string; values?: string[] }[];
  children: { role: string; kind: string; min: number; max: number; claim: boolean }[];
  statistics: string[];
  available: boolean;
}

let native: Described[];

beforeAll(() => {
  const service = path.join(build, 'service/diciclo-service');
  const text = execFileSync(service, ['--modules', path.join(build, 'libservices'), '--describe'], {
    encoding: 'utf8',
  });
  native = JSON.parse(text).libservices;
});

describe('diciclo-service --describe', () => {
  it('has the libservices of the registry, sorted', () => {
    expect(native.map(({ type }) => type)).toEqual(libservices.map(({ type }) => type));
  });

  it.each(libservices.map((libservice) => [libservice.type, libservice] as const))(
    'says the same of %s',
    (type, twin) => {
      const module = native.find((candidate) => candidate.type === type);
      expect(module).toMatchObject({
        kind: twin.kind,
        version: twin.version,
        options: twin.options.map(({ name, type: optionType, values }) => ({
          name,
          type: optionType,
          ...(values ? { values: [...values] } : {}),
        })),
        children: twin.children.map(({ role, kind, min, max, claim }) => ({ role, kind, min, max, claim })),
        statistics: [...twin.statistics],
        available: true,
      });
    },
  );
});
