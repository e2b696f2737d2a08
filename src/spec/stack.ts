/**
 * Stacks: from the short forms of a spec (lists from the top down, bare words, roles) to StackNode trees.
 */
import type { StackNode } from '../engine/types.js';
import {
  type ChildRole,
  findLibservice,
  type Libservice,
  type LibserviceOption,
  libservices,
  withDefaults,
} from '../libservices/index.js';
import type { Path } from './problems.js';
import { parseDuration, parseSize } from './quantities.js';
import { suggest } from './suggest.js';

/** The type of a node that stands for another filesystem of the pool: `options.name` says which. `compileInstance` puts that filesystem's stack in its place. */
export const REFERENCE = 'filesystem';

/** Layers of one instance, references expanded. */
export const MAX_LAYERS = 64;

/** Where a problem goes; `key` points at a key of the value at `path`. */
export type Report = (path: Path, message: string, more?: { key?: string; hint?: string }) => void;

export interface StackContext {
  /** Names of the pool's filesystems. */
  filesystems: ReadonlySet<string>;
  report: Report;
  /** Where each node stood in the text, for problems found later. */
  places: Map<StackNode, Path>;
}

export function isReference(node: StackNode): boolean {
  return node.type === REFERENCE;
}

/** The tree of a stack that has passed the schema; undefined after a problem was reported. */
export function stackFrom(raw: unknown, path: Path, context: StackContext): StackNode | undefined {
  if (!Array.isArray(raw)) {
    const node = layerFrom(raw, path, context);
    if (node) checkRoles(node, path, context);
    return node;
  }
  const nodes = raw.map((entry, index) => layerFrom(entry, [...path, index], context));
  for (let index = nodes.length - 2; index >= 0; index--) {
    const node = nodes[index];
    const below = nodes[index + 1];
    if (node && below) attach(node, below, [...path, index + 1], context);
  }
  if (nodes.includes(undefined)) return undefined;
  nodes.forEach((node, index) => {
    if (node) checkRoles(node, [...path, index], context);
  });
  return nodes[0];
}

/** Puts `below` into the main role of `node`. */
function attach(node: StackNode, below: StackNode, path: Path, context: StackContext): void {
  if (isReference(node)) {
    context.report(
      path,
      `nothing can stand below "${String(node.options.name)}", which is another filesystem with a stack of its own`,
    );
    return;
  }
  const role = findLibservice(node.type)?.children.find((child) => child.main);
  if (!role) {
    context.report(path, `nothing can stand below \`${node.type}\`, which takes no child`);
    return;
  }
  const children = node.children[role.role] ?? [];
  if (children.length > 0) {
    context.report(
      path,
      `\`${node.type}\` has its child in "${role.role}" already; write the child there or as the next entry, not both`,
    );
    return;
  }
  node.children[role.role] = [below];
}

function layerFrom(raw: unknown, path: Path, context: StackContext): StackNode | undefined {
  if (typeof raw === 'string') return wordFrom(raw, path, context);
  const [type, given] = Object.entries(raw as Record<string, unknown>)[0] as [string, unknown];
  const libservice = findLibservice(type);
  if (!libservice) return undefined;
  return nodeFrom(libservice, (given ?? {}) as Record<string, unknown>, [...path, type], context);
}

/** A bare word: another filesystem of the pool, else a libservice without options. */
function wordFrom(word: string, path: Path, context: StackContext): StackNode | undefined {
  if (context.filesystems.has(word)) {
    const node: StackNode = { type: REFERENCE, options: { name: word }, children: {} };
    context.places.set(node, path);
    return node;
  }
  const libservice = findLibservice(word);
  if (libservice) return nodeFrom(libservice, {}, path, context);
  const guess = suggest(word, [...context.filesystems, ...libservices.map(({ type }) => type)]);
  context.report(
    path,
    `"${word}" is neither a filesystem of this pool nor a libservice`,
    guess ? { hint: `did you mean "${guess}"?` } : {},
  );
  return undefined;
}

function nodeFrom(
  libservice: Libservice,
  given: Record<string, unknown>,
  path: Path,
  context: StackContext,
): StackNode {
  const options: Record<string, unknown> = {};
  for (const option of libservice.options) {
    if (given[option.name] === undefined) continue;
    const value = optionValue(libservice.type, option, given[option.name], [...path, option.name], context.report);
    if (value !== undefined) options[option.name] = value;
  }
  for (const option of libservice.options) {
    if (option.required && given[option.name] === undefined)
      context.report(path, `\`${libservice.type}\` needs the option "${option.name}"`);
  }
  const node: StackNode = { type: libservice.type, options: withDefaults(libservice, options), children: {} };
  for (const role of libservice.children) {
    const children = childrenFrom(role, given[role.role], [...path, role.role], context);
    if (children.length > 0) node.children[role.role] = children;
  }
  context.places.set(node, path);
  return node;
}

/** A role for one child takes a stack; a role for several takes a list of them. */
function childrenFrom(role: ChildRole, raw: unknown, path: Path, context: StackContext): StackNode[] {
  if (raw === undefined) return [];
  if (role.max === 1 || !Array.isArray(raw)) {
    const child = stackFrom(raw, path, context);
    return child ? [child] : [];
  }
  return raw.map((entry, index) => stackFrom(entry, [...path, index], context)).filter((child) => child !== undefined);
}

function optionValue(type: string, option: LibserviceOption, raw: unknown, path: Path, report: Report): unknown {
  const name = `${type}.${option.name}`;
  if (option.type === 'path') {
    const problem = pathProblem(raw as string);
    if (problem) report(path, `\`${name}\` ${problem}`);
    return problem ? undefined : raw;
  }
  if (option.type !== 'size' && option.type !== 'duration') return raw;
  const value = option.type === 'size' ? parseSize(raw) : parseDuration(raw);
  if (value === undefined) {
    report(path, `\`${name}\` must be a whole number of ${option.type === 'size' ? 'bytes' : 'milliseconds'}`);
  } else if (option.minimum !== undefined && value < option.minimum) {
    report(
      path,
      `\`${name}\` must be at least ${option.type === 'size' ? `${option.minimum} bytes (1Mi is 1048576)` : `${option.minimum} ms`}`,
    );
  } else if (option.maximum !== undefined && value > option.maximum) {
    report(
      path,
      `\`${name}\` must be at most ${option.type === 'size' ? `${option.maximum} bytes` : `${option.maximum} ms`}`,
    );
  } else return value;
  return undefined;
}

/** What is wrong with an absolute path, or undefined. */
export function pathProblem(path: string): string | undefined {
  if (!path.startsWith('/')) return `must be an absolute path, and "${path.slice(0, 80)}" is relative`;
  if (path.includes('\0') || path.includes('\n')) return 'must not hold line breaks or NUL';
  const parts = path.split('/').slice(1);
  if (parts.includes('..') || parts.includes('.')) return 'must not hold "." or ".."';
  if (path !== '/' && parts.includes('')) return 'must be written without "//" and without "/" at the end';
  return undefined;
}

function checkRoles(node: StackNode, path: Path, context: StackContext): void {
  const libservice = findLibservice(node.type);
  if (!libservice) return;
  for (const role of libservice.children) {
    const count = node.children[role.role]?.length ?? 0;
    if (count < role.min)
      context.report(
        path,
        `\`${node.type}\` needs a ${role.kind} libservice in the role "${role.role}", as its next entry or inside it`,
      );
    if (count > role.max) context.report(path, `\`${node.type}\` takes at most ${role.max} in the role "${role.role}"`);
  }
}

/** `cache/local`: the types along the main roles, from the top down; references by name. */
export function stackTypes(node: StackNode): string {
  const own = isReference(node) ? String(node.options.name) : node.type;
  const main = findLibservice(node.type)?.children.find((role) => role.main);
  const child = main ? node.children[main.role]?.[0] : undefined;
  return child ? `${own}/${stackTypes(child)}` : own;
}
