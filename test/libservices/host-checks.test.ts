import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostChecks, libservices, plannedLibservices } from '../../src/libservices/index.js';
import { compileInstance, parseStack } from '../../src/spec/index.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'diciclo-host-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function check(directory: string) {
  const stack = parseStack(`[cache: {size: 1Mi}, local: {path: ${directory}}]`, 't');
  return hostChecks(compileInstance({ name: 'd', host: false, door: { cache: 'auto' }, stack }, []));
}

describe('host checks', () => {
  it('accepts a directory', async () => {
    expect(await check(folder)).toMatchObject([{ status: 'ok' }]);
  });

  it('names the directory that is missing, and how to make it', async () => {
    const directory = path.join(folder, 'none');
    expect(await check(directory)).toMatchObject([
      { status: 'missing', detail: `The directory ${directory} does not exist.`, fix: `mkdir -p ${directory}` },
    ]);
  });

  it('refuses what is no directory', async () => {
    const file = path.join(folder, 'file');
    writeFileSync(file, '');
    expect(await check(file)).toMatchObject([{ status: 'missing', detail: `${file} is not a directory.` }]);
    expect(await check(path.join(file, 'below'))).toMatchObject([{ status: 'missing' }]);
  });
});

describe('the registry', () => {
  it('is sorted, and tells planned libservices from those it has', () => {
    const types = libservices.map(({ type }) => type);
    expect(types).toEqual([...types].sort());
    expect(types.filter((type) => plannedLibservices.includes(type))).toEqual([]);
    for (const { type, options, statistics, children } of libservices) {
      const names = options.map(({ name }) => name);
      expect(names, type).toEqual([...names].sort());
      expect(statistics, type).toEqual([...statistics].sort());
      expect(children.filter(({ main }) => main).length, type).toBeLessThanOrEqual(1);
      expect(
        names.filter((name) => children.some(({ role }) => role === name)),
        type,
      ).toEqual([]);
    }
  });
});
