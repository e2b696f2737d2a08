/** The command line as a process: bin/run.js, built from the sources as they are. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { checkout } from './harness.js';

// Many short processes, on machines that may be busy.
vi.setConfig({ testTimeout: 60_000 });

let runtime: string;
const bin = path.join(checkout, 'bin/run.js');

beforeAll(() => {
  runtime = mkdtempSync(path.join(tmpdir(), 'diciclo-process-'));
  // Nothing, where it is built of these sources already.
  const build = "import('./scripts/setup.mjs').then((setup) => setup.buildTypeScript())";
  execFileSync(process.execPath, ['-e', build], { cwd: checkout, stdio: ['ignore', 'ignore', 'inherit'] });
}, 120_000);
afterAll(() => rmSync(runtime, { recursive: true, force: true }));

function diciclo(argv: string[], input = '') {
  const env = { ...process.env, DICICLO_RUNTIME_DIR: runtime, NO_COLOR: '1' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...argv], { encoding: 'utf8', env, input });
  return { status, stdout, stderr };
}

describe('bin/run.js', () => {
  it('shows help and version, and needs no pool for it', () => {
    expect(diciclo(['--help'])).toMatchObject({ status: 0, stdout: expect.stringContaining('Make what runs match') });
    expect(diciclo([])).toMatchObject({ status: 0, stdout: expect.stringContaining('TOPICS') });
    expect(diciclo(['pool', 'create', '--help']).stdout).toContain('$ diciclo pool create db --cores 2 --memory 1Gi');
    expect(diciclo(['pool']).stdout).toContain('pool destroy');
    expect(diciclo(['--version']).stdout).toMatch(/^diciclo\/\d/);
  });

  it('validates, with exit status 0 or 2', () => {
    const template = path.join(checkout, 'templates/minimal.yaml');
    expect(diciclo(['validate', '-f', template, '--json'])).toMatchObject({ status: 0, stderr: '' });
    const bad = diciclo(['validate', '-f', '-'], 'apiVersion: diciclo/v1\nkind: Tenat\n');
    expect(bad.status).toBe(2);
    expect(bad.stderr).toContain('<stdin>:2:7: kind: must be "Tenant"');
    const large = path.join(runtime, 'large.yaml');
    writeFileSync(large, 'é'.repeat(5_000_000));
    expect(diciclo(['validate', '-f', large])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('larger than 256 KiB'),
    });
    expect(diciclo(['validate', '-f', '/dev/zero']).stderr).toContain('larger than 256 KiB');
    writeFileSync(large, Buffer.from([0xff, 0xfe, 0x41]));
    expect(diciclo(['validate', '-f', large]).stderr).toContain('is not UTF-8 text');
  });

  it('keeps its exit statuses with --json', () => {
    for (const [argv, status] of [
      [['pool', 'show', 'none'], 3],
      [['pool', 'create'], 2],
      [['pool', 'create', 'x', '--bad'], 2],
      [['validate', '-f', '/nonexistent.yaml'], 3],
      [['nosuch'], 2],
    ] as const) {
      const { status: plain, stdout: nothing, stderr } = diciclo([...argv]);
      expect({ argv, plain, nothing }).toEqual({ argv, plain: status, nothing: '' });
      expect(stderr).toMatch(/^error: .* \[[A-Z_]+\]\n( {2}try: .*\n)*$/);
      const json = diciclo([...argv, '--json']);
      expect({ argv, status: json.status, stderr: json.stderr }).toEqual({ argv, status, stderr: '' });
      expect(JSON.parse(json.stdout).error.exit).toBe(status);
    }
  });

  it('names the command that was meant', () => {
    expect(diciclo(['pol', 'list']).stderr).toContain('did you mean "pool list"?');
    expect(diciclo(['vaildate']).stderr).toContain('did you mean "validate"?');
  });

  it('lists nothing on a machine without pools', () => {
    expect(diciclo(['pool', 'list', '--json'])).toEqual({ status: 0, stdout: '[]\n', stderr: '' });
    expect(diciclo(['status'])).toMatchObject({ status: 0, stdout: 'Nothing runs.\n' });
  });

  it('leaves with 130 on Ctrl-C, and with no word to a reader that left', async () => {
    const env = { ...process.env, DICICLO_RUNTIME_DIR: runtime };
    const watch = spawn(process.execPath, [bin, 'pool', 'list', '--watch', '--json'], { env });
    await new Promise((resolve) => watch.stdout.once('data', resolve));
    watch.kill('SIGINT');
    expect(await new Promise((resolve) => watch.once('exit', (code) => resolve(code)))).toBe(130);
    const pipe = spawnSync('sh', ['-c', `"$0" "$1" schema tenant | head -c 10; echo`, process.execPath, bin], {
      encoding: 'utf8',
    });
    expect(pipe).toMatchObject({ status: 0, stderr: '' });
  });
});
