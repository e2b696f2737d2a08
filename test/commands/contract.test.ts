/**
 * What scripts rely on: the commands with their arguments and options, and the shape of every --json answer, against the committed files in snapshots/.
 * After a wanted change: UPDATE_SNAPSHOTS=1 npx vitest run test/commands/contract.test.ts, and say it in docs/user.md.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DicicloCommand } from '../../src/cli/command.js';
import Doctor from '../../src/commands/doctor.js';
import Tune from '../../src/commands/tune.js';
import { copyProfile, FakeEngine } from './fake-engine.js';
import { checkout, commandClass, invoke } from './harness.js';

const ids = readdirSync(path.join(checkout, 'src/commands'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replace(/\.ts$/, '').replaceAll(path.sep, ':'))
  .sort();

function compare(name: string, value: unknown): void {
  const file = path.join(import.meta.dirname, 'snapshots', `${name}.json`);
  if (process.env.UPDATE_SNAPSHOTS) writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`);
  expect(value).toEqual(JSON.parse(readFileSync(file, 'utf8')));
}

/** `"string"`, `["number"]`, `{"a": "null"}`: types in place of values; lists by the shapes of their entries, each once. */
function shapeOf(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) {
    const shapes = new Map(value.map((entry) => [JSON.stringify(shapeOf(entry)), shapeOf(entry)]));
    return [...shapes.values()];
  }
  if (typeof value !== 'object') return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, shapeOf(entry)]));
}

const demo = path.join(checkout, 'templates/demo.yaml');
const stackText = '[local: {path: /srv/x}]';

/** One call of each command that answers in JSON. */
const calls: Record<string, string[]> = {
  'accounting:show': ['db'],
  apply: ['-f', demo],
  delete: ['acme', '--yes'],
  doctor: [],
  export: ['-f', demo],
  'fs:list': [],
  'fs:mount': ['db', '/data', '--stack', stackText],
  'fs:unmount': ['db', '/data'],
  'libservice:list': [],
  'libservice:show': ['cache'],
  plan: ['-f', demo],
  'pool:create': ['db'],
  'pool:destroy': ['db', '--yes'],
  'pool:list': [],
  'pool:show': ['db'],
  'queue:show': ['db'],
  'server:list': [],
  'server:logs': ['db', 'redis'],
  'server:restart': ['db', 'redis'],
  'service:upgrade': ['db'],
  'stack:show': ['db', '/data'],
  stats: ['db'],
  status: [],
  tune: [],
  validate: ['-f', demo],
};
/** `run` prints what its command prints; a schema has its own file, schemas/v1/tenant.json. */
const withoutShape = ['run', 'schema:tenant'];

interface Described {
  args: Record<string, { required?: boolean }>;
  flags: Record<string, { char?: string; type: string; required?: boolean; options?: string[] }>;
  summary?: string;
  examples?: string[];
}

describe('the command line', () => {
  it('has the commands, arguments and options of snapshots/commands.json', async () => {
    const commands: Record<string, unknown> = {};
    const baseFlags = DicicloCommand.baseFlags as unknown as Described['flags'];
    for (const id of ids) {
      const { args, flags } = (await commandClass(id)) as unknown as Described;
      commands[id.replaceAll(':', ' ')] = {
        arguments: Object.entries(args ?? {}).map(([name, arg]) => (arg.required ? name : `[${name}]`)),
        options: Object.entries({ ...baseFlags, ...flags })
          .map(([name, flag]) => {
            const value = flag.type === 'option' ? ` ${flag.options?.join('|') ?? 'VALUE'}` : '';
            return `${flag.char ? `-${flag.char}, ` : ''}--${name}${value}${flag.required ? ' (required)' : ''}`;
          })
          .sort(),
      };
    }
    compare('commands', commands);
  });

  it('has a summary and examples for every command', async () => {
    for (const id of ids) {
      const { summary, examples } = (await commandClass(id)) as unknown as Described;
      expect(summary, id).toMatch(/^[A-Z][^.]*$/);
      expect(examples?.length, id).toBeGreaterThan(0);
    }
  });
});

describe('--json', () => {
  it('has a shape for every command', () => {
    expect([...Object.keys(calls), ...withoutShape].sort()).toEqual(ids);
  });

  it('answers as snapshots/answers.json says', async () => {
    const examine = Doctor.examine;
    Doctor.examine = async () => [
      { id: 'root', title: 'rights', status: 'ok', detail: 'root' },
      { id: 'fuse', title: '/dev/fuse', status: 'warning', detail: 'x', fix: 'modprobe fuse' },
    ];
    const measured = Tune.tune;
    Tune.tune = async () => copyProfile;
    const answers: Record<string, unknown> = {};
    for (const [id, argv] of Object.entries(calls)) {
      const { stdout, stderr, exit, result } = await invoke(id, [...argv, '--json'], new FakeEngine());
      expect({ id, stderr, exit }).toEqual({ id, stderr: '', exit: 0 });
      expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(result)));
      answers[id.replaceAll(':', ' ')] = shapeOf(JSON.parse(stdout));
    }
    Doctor.examine = examine;
    Tune.tune = measured;
    const failed = await invoke('validate', ['-f', '/nonexistent.yaml', '--json']);
    answers['(error)'] = shapeOf(JSON.parse(failed.stdout));
    compare('answers', answers);
  }, 60_000);
});
