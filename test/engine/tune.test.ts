/** `diciclo tune` down to the native program; the measuring itself is tested in native/test/copy. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { tune } from '../../src/engine/tune.js';

let folder: string;
const before = process.env.DICICLO_COPY_PROFILE;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'diciclo-tune-'));
  mkdirSync(path.join(folder, 'd'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  if (before === undefined) delete process.env.DICICLO_COPY_PROFILE;
  else process.env.DICICLO_COPY_PROFILE = before;
});

describe('tune', () => {
  it('shows that there is no profile, or none that is used, and why', async () => {
    process.env.DICICLO_COPY_PROFILE = path.join(folder, 'copy.json');
    expect(await tune('show')).toEqual({ path: path.join(folder, 'copy.json'), state: 'none', rows: [] });
    writeFileSync(path.join(folder, 'copy.json'), '{"version": 2, "cpu": "another", "rows": []}');
    expect(await tune('show')).toMatchObject({
      state: 'other-cpu',
      reason: expect.stringMatching(/measured on another/),
    });
    writeFileSync(path.join(folder, 'copy.json'), 'nonsense');
    expect(await tune('show')).toMatchObject({ state: 'unreadable', rows: [] });
    expect(await tune('reset')).toMatchObject({ state: 'none' });
  });

  it('says what it could not do', async () => {
    process.env.DICICLO_COPY_PROFILE = path.join(folder, 'd');
    await expect(tune('reset')).rejects.toMatchObject({
      code: 'TUNE_FAILED',
      message: expect.stringMatching(/^cannot remove .*directory$/),
    });
  });
});
