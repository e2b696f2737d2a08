import { describe, expect, it } from 'vitest';
import type { FilesystemSpec, StackNode } from '../../src/engine/types.js';
import { compileInstance, parseStack, parseTenant, stackTypes } from '../../src/spec/index.js';

function filesystem(name: string, stack: StackNode | string): FilesystemSpec {
  return {
    name,
    host: false,
    door: { cache: 'auto' },
    stack: typeof stack === 'string' ? parseStack(stack, 't') : stack,
  };
}

const reference = (name: string): StackNode => ({ type: 'filesystem', options: { name }, children: {} });

describe('compileInstance', () => {
  it('gives the plan of the contract, children first', () => {
    const data = filesystem('data', '[cache: {size: 64Mi}, local: {path: /srv/x}]');
    expect(compileInstance(data, [data])).toEqual({
      version: 1,
      instance: 'data',
      root: 'data.0',
      nodes: [
        { id: 'data.1', type: 'local', kind: 'file', options: { path: '/srv/x', readOnly: false }, children: {} },
        {
          id: 'data.0',
          type: 'cache',
          kind: 'file',
          options: { size: 67108864, mode: 'write-through', ttl: 1000 },
          children: { below: ['data.1'] },
        },
      ],
    });
  });

  it('writes the same text whatever order the spec had', () => {
    const a = filesystem('d', '[cache: {size: 1Mi, ttl: 0}, local: {readOnly: true, path: /x}]');
    const b = filesystem('d', '{cache: {below: {local: {path: /x, readOnly: true}}, ttl: 0, size: 1Mi}}');
    const text = JSON.stringify(compileInstance(a, [a]));
    expect(JSON.stringify(compileInstance(b, [b]))).toBe(text);
    expect(text).toContain('"options":{"mode":"write-through","size":1048576,"ttl":0}');
    expect(text).toContain('"options":{"path":"/x","readOnly":true}');
  });

  it('fills in what a hand-made node leaves out', () => {
    const made = filesystem('d', { type: 'local', options: { path: '/x' }, children: {} });
    expect(compileInstance(made, []).nodes[0]?.options).toEqual({ path: '/x', readOnly: false });
  });

  it('puts the stack of another filesystem in the place of its name', () => {
    const base = filesystem('base', '[cache: {size: 1Mi}, local: {path: /x}]');
    const top = filesystem('top', { type: 'passthrough', options: {}, children: { below: [reference('base')] } });
    const plan = compileInstance(top, [base, top]);
    expect(plan.nodes.map(({ id, type }) => `${id} ${type}`)).toEqual([
      'top.2 local',
      'top.1 cache',
      'top.0 passthrough',
    ]);
    expect(plan.root).toBe('top.0');
    expect(stackTypes(top.stack)).toBe('passthrough/base');
    expect(stackTypes(base.stack)).toBe('cache/local');
  });

  it('refuses what meaning would have refused', () => {
    const missing = filesystem('a', reference('b'));
    expect(() => compileInstance(missing, [missing])).toThrow('names the filesystem "b", which is not there');
    const loop = filesystem('a', reference('a'));
    expect(() => compileInstance(loop, [loop])).toThrow('contains itself: a -> a');
    const unknown = filesystem('a', { type: 'ext9', options: {}, children: {} });
    expect(() => compileInstance(unknown, [])).toThrow('names the libservice "ext9"');
    let tall: StackNode = { type: 'local', options: { path: '/x' }, children: {} };
    for (let layer = 0; layer < 64; layer++) tall = { type: 'passthrough', options: {}, children: { below: [tall] } };
    expect(() => compileInstance(filesystem('a', tall), [])).toThrow('more than 64 layers');
  });

  it('refuses a spec with more layers than one instance may have', () => {
    const chain = Array.from({ length: 5 }, (_, index) => {
      const below = index === 4 ? 'local: {path: /x}' : `f${index + 1}`;
      return `{name: f${index}, stack: [${'passthrough, '.repeat(20)}${below}]}`;
    });
    const text = `apiVersion: diciclo/v1\nkind: Tenant\nmetadata: {name: a}\nspec: {filesystems: [${chain.join(', ')}]}`;
    expect(() => parseTenant(text, 't.yaml')).toThrow('problems');
    expect(() => parseTenant(text.replaceAll('passthrough, '.repeat(20), 'passthrough, '), 't.yaml')).not.toThrow();
  });
});
