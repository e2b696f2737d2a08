import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DicicloError } from '../../src/engine/types.js';
import { exportTenant, parseStack, parseTenant } from '../../src/spec/index.js';
import type { Problem } from '../../src/spec/problems.js';

const checkout = path.resolve(import.meta.dirname, '../..');
const HEAD = 'apiVersion: diciclo/v1\nkind: Tenant\nmetadata: {name: acme}\n';

/** Problems of a text, or none. */
function problems(text: string): Problem[] {
  try {
    parseTenant(text, 't.yaml');
    return [];
  } catch (error) {
    if (!(error instanceof DicicloError)) throw error;
    expect(error).toMatchObject({ code: 'SPEC_INVALID', exit: 2 });
    return error.options.details?.problems as Problem[];
  }
}

/** `line:column path: message; hint` of each problem. */
function lines(text: string): string[] {
  return problems(text).map(
    ({ line, column, path: where, message, hint }) =>
      `${line}:${column} ${where}: ${message}${hint ? `; ${hint}` : ''}`,
  );
}

/** Problems of a pool, given as YAML in the short form from line 5 on. */
const inPool = (yaml: string) => lines(`${HEAD}spec:\n${yaml.replace(/^/gm, '  ')}`);
const inStack = (stack: string) => inPool(`filesystems:\n  - {name: data, mount: /data, stack: ${stack}}`);

describe('a whole spec', () => {
  it('gets its full form', () => {
    const spec = parseTenant(readFileSync(path.join(checkout, 'templates/demo.yaml'), 'utf8'), 'demo.yaml');
    expect(spec.metadata).toEqual({ name: 'demo' });
    expect(spec.spec.pools).toHaveLength(1);
    expect(spec.spec.pools[0]).toMatchObject({
      name: 'db',
      reserve: { cores: 2, memory: 2 ** 30 },
      limit: { cores: 2, memory: 2 ** 30 },
      weight: 100,
      trust: 'pool',
      workers: 0,
      filesystems: [
        {
          name: 'data',
          mount: '/data',
          host: false,
          door: { cache: 'auto' },
          stack: {
            type: 'cache',
            options: { mode: 'write-through', size: 64 * 2 ** 20, ttl: 1000 },
            children: {
              below: [{ type: 'local', options: { path: '/srv/diciclo/demo', readOnly: false }, children: {} }],
            },
          },
        },
      ],
      servers: [
        {
          name: 'redis',
          kind: 'process',
          door: 'library',
          restart: 'always',
          stopSignal: 'TERM',
          stopGrace: 10_000,
          environment: {},
          health: { interval: 2000, timeout: 2000, retries: 3, startPeriod: 10_000 },
        },
      ],
    });
  });

  it('may be the short form of one pool', () => {
    const spec = parseTenant(`${HEAD}spec: {reserve: {cores: 1.5}}`, 't.yaml');
    expect(spec.spec.pools).toMatchObject([{ name: 'main', reserve: { cores: 1.5 } }]);
    expect(parseTenant(`${HEAD}spec: {name: db}`, 't.yaml').spec.pools[0]?.name).toBe('db');
  });

  it('is the same after it was exported', () => {
    const text = `${HEAD}spec:
  pools:
    - name: db
      reserve: {cores: "0.5", memory: 1.5Gi}
      limit: {memory: 2Gi, io: {rbps: 10M, wiops: 100}}
      weight: 50
      trust: process
      workers: 2
      filesystems:
        - {name: base, stack: [local: {path: /srv/x, readOnly: true}]}
        - {name: data, mount: /data, host: true, door: {cache: none}, stack: [passthrough, base]}
        - {name: more, mount: /more, stack: {cache: {ttl: 0, below: {local: {path: /srv/y}}}}}
      servers:
        - name: s
          process: {command: [a, ""], environment: {A_1: b}, directory: /tmp, door: library, syscalls: dispatch, restart: never, stopSignal: SIGINT, stopGrace: 500ms}
        - {name: k, process: {command: [b], door: kernel}}
`;
    const spec = parseTenant(text, 't.yaml');
    expect(parseTenant(JSON.stringify(exportTenant(spec)), 'u.yaml')).toEqual(spec);
    expect(spec.spec.pools[0]?.servers[0]).toMatchObject({ stopSignal: 'INT', stopGrace: 500, syscalls: 'dispatch' });
    expect(spec.spec.pools[0]?.limit).toEqual({ memory: 2 ** 31, io: { rbps: 10_000_000, wiops: 100 } });
  });

  it('may carry x-* keys and anchors', () => {
    const text = `${HEAD}x-sizes: &small {memory: 1Gi}\nspec: {x-note: hi, reserve: *small, limit: *small}`;
    expect(parseTenant(text, 't.yaml').spec.pools[0]?.limit).toEqual({ memory: 2 ** 30 });
  });
});

describe('shape', () => {
  it('points at the offending key with line and column', () => {
    expect(inPool('filesytems: []')).toEqual([
      '5:3 spec.filesytems: unknown key "filesytems"; did you mean "filesystems"?',
    ]);
    expect(lines(`${HEAD}spec:\n  pool: []`)).toEqual(['5:3 spec.pool: unknown key "pool"; did you mean "pools"?']);
    expect(inStack('[local: {pth: /x, path: /y}]')).toEqual([
      '6:50 spec.filesystems[0].stack[0].local.pth: unknown key "pth"; did you mean "path"?',
    ]);
  });

  it('shows every problem, in order, at most twenty', () => {
    expect(inPool('weight: 0\ntrust: pol\nreserve: {memory: 1GB}').map((line) => line.split(' ')[0])).toEqual([
      '5:11',
      '6:10',
      '7:21',
    ]);
    const many = Array.from({ length: 30 }, (_, index) => `bad${index}: 1`).join('\n');
    expect(inPool(many)).toHaveLength(20);
    expect(() => parseTenant(`${HEAD}spec:\n${many.replace(/^/gm, '  ')}`, 't.yaml')).toThrow(
      't.yaml has 30 problems (the first 20 are shown)',
    );
  });

  it.each([
    ['', 'the spec is empty'],
    ['[]', 'must be a map'],
    ['kind: Tenant', 'the key "spec" is missing'],
    [HEAD.replace('v1', 'v2'), 'must be "diciclo/v1"'],
    [`${HEAD}spec: {}`, 'says nothing'],
    [`${HEAD}spec: {pools: []}`, 'needs at least 1 entry'],
    [`${HEAD}spec: {pools: [{weight: 1}]}`, 'the key "name" is missing'],
    [`${HEAD}spec:`, 'must be a map, not empty'],
    [`${HEAD}spec: {name: Db}`, 'lower-case letters'],
    [`${HEAD}spec: {name: ${'a'.repeat(64)}}`, 'at most 63'],
    [`${HEAD}spec: {name: -a}`, 'lower-case letters'],
    [`${HEAD}spec: {reserve: {memory: 1GB}}`, 'must be a size'],
    [`${HEAD}spec: {reserve: {memory: -1}}`, 'must be a size'],
    [`${HEAD}spec: {reserve: {memory: 0}}`, 'above 0'],
    [`${HEAD}spec: {reserve: {cores: 0}}`, 'must be a number of cores'],
    [`${HEAD}spec: {reserve: {cores: two}}`, 'must be a number of cores'],
    [`${HEAD}spec: {weight: 10001}`, 'must be a whole number from 1 to 10000'],
    [`${HEAD}spec: {workers: 1.5}`, 'must be a whole number'],
    [`${HEAD}spec: {trust: Pool}`, 'must be one of: pool, process; did you mean "pool"?'],
    [`${HEAD}spec: {containers: []}`, 'containers are not part of this version'],
    [`${HEAD}spec: {servers: [{name: s, nfs: {}}]}`, 'the server kind "nfs" is not part of this version'],
    [`${HEAD}spec: {servers: [{name: s, process: {command: []}}]}`, 'needs at least 1 entry'],
    [`${HEAD}spec: {servers: [{name: s, process: {command: [sleep, 5]}}]}`, 'put quotes around it: "5"'],
    [`${HEAD}spec: {servers: [{name: s, process: {command: [a], stopGrace: 10}}]}`, 'must be a duration with its unit'],
    [
      `${HEAD}spec: {servers: [{name: s, process: {command: [a], environment: {a-b: c}}}]}`,
      'is no name of an environment variable',
    ],
    [`${HEAD}spec: {servers: [{name: s, process: {command: [a], stopSignal: TRM}}]}`, 'did you mean "TERM"?'],
    [`${HEAD}spec: {filesystems: [{name: a}]}`, 'the key "stack" is missing'],
    [`${HEAD}spec: {filesystems: [{name: a, stack: []}]}`, 'needs at least 1 entry'],
    [`${HEAD}spec: {filesystems: [{name: a, stack: 5}]}`, 'must be a stack'],
    [`${HEAD}spec: {filesystems: [{name: a, mount: 5, stack: x}]}`, 'put quotes around it'],
  ])('%j', (text, message) => {
    expect(lines(text).join('\n')).toContain(message);
  });
});

describe('stacks', () => {
  it.each([
    ['[union: {upper: x}]', 'the libservice "union" is not part of this version, which has: cache, local, passthrough'],
    ['[chache: {}, local: {path: /x}]', 'there is no libservice "chache"; did you mean "cache"?'],
    ['{cache: {}, local: {path: /x}}', 'must name one libservice'],
    ['[local: {}]', '`local` needs the option "path"'],
    ['[local]', '`local` needs the option "path"'],
    ['[local: ]', 'must be a map, not empty'],
    ['[cache]', '`cache` needs a file libservice in the role "below"'],
    ['[cache: {size: 64MB}, local: {path: /x}]', 'must be a size'],
    ['[cache: {size: 1000}, local: {path: /x}]', '`cache.size` must be at least 1048576 bytes'],
    ['[cache: {ttl: 1000}, local: {path: /x}]', 'must be a duration with its unit'],
    ['[cache: {mode: write-around}, local: {path: /x}]', 'must be one of: write-back, write-through'],
    ['[local: {path: x}]', 'must be an absolute path, and "x" is relative'],
    ['[local: {path: /a/../b}]', 'must not hold "." or ".."'],
    ['[local: {path: /a//b}]', 'must be written without "//"'],
    ['[local: {path: /a, readOnly: 1}]', 'must be true or false'],
    ['[local: {path: /a}, local: {path: /b}]', 'nothing can stand below `local`'],
    ['[cache: {below: {local: {path: /x}}}, local: {path: /y}]', 'has its child in "below" already'],
    ['[passthrough, nowhere]', '"nowhere" is neither a filesystem of this pool nor a libservice'],
    ['[passthrough, pasthrough, local: {path: /x}]', 'did you mean "passthrough"?'],
    ['data', 'the filesystem "data" would contain itself: data -> data'],
    ['[local: {path: /data/x}]', 'lies in /data, where "data" of this pool is mounted'],
    [`[${'passthrough, '.repeat(40)}local: {path: /x}]`, 'has more than 32 entries'],
  ])('%s', (stack, message) => {
    expect(inStack(stack).join('\n')).toContain(message);
  });

  it('takes the roles inside a layer, and bare words', () => {
    const stack = parseStack(
      '[passthrough, passthrough: {below: {cache: {size: 1Mi, below: [local: {path: /x}]}}}]',
      '--stack',
    );
    expect(stack).toMatchObject({
      type: 'passthrough',
      children: {
        below: [
          { type: 'passthrough', children: { below: [{ type: 'cache', children: { below: [{ type: 'local' }] } }] } },
        ],
      },
    });
  });
});

describe('meaning', () => {
  const two = (a: string, b: string) => inPool(`filesystems:\n  - {name: a, ${a}}\n  - {name: b, ${b}}`).join('\n');
  const disk = 'stack: [local: {path: /srv/x}]';

  it('wants names once', () => {
    expect(inPool(`filesystems:\n  - {name: a, ${disk}}\n  - {name: a, ${disk}}`)).toEqual([
      '7:14 spec.filesystems[1].name: there is another filesystem "a"',
    ]);
    expect(lines(`${HEAD}spec: {pools: [{name: a}, {name: a}]}`)[0]).toContain('there is another pool "a"');
  });

  it('wants mount points apart', () => {
    expect(two(`mount: /d, ${disk}`, `mount: /d, ${disk}`)).toContain('"a" is mounted at /d too');
    expect(two(`mount: /d, ${disk}`, `mount: /d/e, ${disk}`)).toBe('');
    expect(two(`mount: /d, ${disk}`, `mount: /de, ${disk}`)).toBe('');
    expect(two(`host: true, ${disk}`, disk)).toContain('needs a mount point');
  });

  it.each([
    ['data', 'must be an absolute path'],
    ['/', 'must not be "/"'],
    ['/a/', 'must be written without'],
    ['/a/./b', 'must not hold "."'],
    ['/proc/x', 'must not be on or in /proc'],
    ['/dev', 'must not be on or in /dev'],
  ])('refuses the mount point %s', (mount, message) => {
    expect(two(`mount: ${mount}, ${disk}`, disk)).toContain(message);
  });

  it('finds cycles, once each', () => {
    const text = inPool(
      'filesystems:\n  - {name: a, stack: [cache, b]}\n  - {name: b, stack: [passthrough, c]}\n  - {name: c, stack: [passthrough, a]}',
    );
    expect(text).toEqual([
      '8:38 spec.filesystems[2].stack[1]: the filesystem "c" would contain itself: a -> b -> c -> a',
    ]);
    expect(inPool('filesystems: [{name: passthrough, stack: [passthrough, local: {path: /x}]}]').join()).toContain(
      'nothing can stand below "passthrough", which is another filesystem',
    );
  });

  it('lets one writer claim a filesystem', () => {
    expect(two(`mount: /a, ${disk}`, 'mount: /b, stack: [cache, a]')).toContain('is mounted at /a by itself');
    expect(two(disk, 'mount: /b, stack: [cache, a]')).toBe('');
    expect(
      inPool(
        `filesystems:\n  - {name: a, ${disk}}\n  - {name: b, stack: [cache, a]}\n  - {name: c, stack: [cache, a]}`,
      ).join(),
    ).toContain('"a" is used twice');
  });

  it('keeps reservations below limits', () => {
    expect(inPool('reserve: {cores: 2, memory: 2Gi}\nlimit: {cores: 1, memory: 1Gi}')).toEqual([
      '5:20 spec.reserve.cores: reserves 2 cores, above the limit of 1',
      '5:31 spec.reserve.memory: reserves 2Gi, above the limit of 1Gi',
    ]);
    expect(inPool('reserve: {storage: 1Gi}').join()).toContain('cannot be reserved or limited in this version');
    expect(inPool('reserve: {io: {rbps: 1Mi}}').join()).toContain('cannot be reserved in this version');
  });

  it('looks at the working directory of servers', () => {
    expect(inPool('servers: [{name: s, process: {command: [a], directory: x}}]').join()).toContain(
      'must be an absolute path',
    );
  });

  it('dispatches the system calls of servers with the library alone', () => {
    const process = 'process: {command: [a], door: kernel, syscalls: dispatch}';
    expect(inPool(`servers: [{name: s, ${process}}]`).join()).toContain('syscalls: needs door: library');
  });
});

describe('hostile texts', () => {
  // What is not refused early would run past any time limit.
  const quick = (text: string, message: string) => expect(lines(text).join('\n').slice(0, 2000)).toContain(message);
  const KIB = 1024;

  it('refuses 10 MB', () => quick(`${HEAD}x-y: "${'a'.repeat(10 * KIB * KIB)}"`, 'larger than 256 KiB'));
  it('refuses a great many aliases', () => quick(`x-a: &a b\nx-b: [${'*a,'.repeat(80_000)}*a]`, 'more than'));
  it('refuses 101 aliases', () => quick(`x-a: &a b\nx-b: [${'*a,'.repeat(100)}*a]`, 'more than 100 aliases'));
  it('refuses a billion laughs', () => {
    const levels = Array.from(
      { length: 9 },
      (_, level) => `x-${level + 1}: &a${level + 1} [${`*a${level},`.repeat(9)}]`,
    );
    quick(`x-0: &a0 [lol]\n${levels.join('\n')}\n${HEAD}spec: {name: a}`, 'aliases that grow into too many values');
  });
  it('refuses deep nesting', () => {
    quick(`x-a: ${'['.repeat(100)}${']'.repeat(100)}`, 'nested more than 64 levels deep');
    quick('['.repeat(200 * KIB), 'nested');
    quick('- '.repeat(100 * KIB), 'nested');
  });
  it('refuses many keys', () =>
    quick(Array.from({ length: 20_001 }, (_, index) => `k${index}: `).join('\n'), 'more than 20000 values'));
  it('refuses a key that is there twice', () => {
    expect(lines(`${HEAD}spec:\n  name: a\n  name: b`)).toEqual(['6:3 spec.name: the key "name" is there twice']);
  });
  it('refuses keys that are no words', () => quick('? [a]\n: b', 'a key must be a word'));
  it('refuses aliases to nothing, and to themselves', () => {
    quick(`${HEAD}spec: *none`, '');
    expect(lines(`${HEAD}spec: *none`)).toHaveLength(1);
    expect(lines(`${HEAD}spec: &a {x-b: *a, name: c}`)).toEqual([
      '4:16 spec.x-b: the alias *a is inside what it stands for',
    ]);
    expect(inStack('&a [cache: {below: *a}]').join()).toContain('inside what it stands for');
  });
  it('refuses several documents, broken YAML and tags', () => {
    quick(`${HEAD}---\n${HEAD}`, 'multiple documents');
    quick('a: [b', 'not YAML');
    quick('\u0000', 'must be a map');
    quick('spec: !!binary 5', '');
  });
  it('is not fooled by names of JavaScript', () => {
    for (const key of ['__proto__', 'constructor', 'toString']) {
      expect(inPool(`${key}: {a: b}`).join()).toContain(`unknown key "${key}"`);
      expect(inStack(`[${key}]`).join()).toContain('is neither');
      expect(inStack(`[{${key}: {}}]`).join()).toContain('there is no libservice');
    }
  });
});
