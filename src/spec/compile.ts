/** From a stack to the flat plan that the native side mounts (docs/contract.md §5). */
import {
  DicicloError,
  ExitStatus,
  type FilesystemSpec,
  type InstancePlan,
  type InstancePlanNode,
  type StackNode,
} from '../engine/types.js';
import { findLibservice, withDefaults } from '../libservices/index.js';
import { isReference, MAX_LAYERS } from './stack.js';

/**
 * The flat plan of one filesystem: children before parents, every option present, keys sorted, ids `<instance>.<n>` with the root as 0.
 * References are replaced by copies of the stacks they name, looked up in `all`. Pure and deterministic.
 * Throws SPEC_INVALID for what meaning checks refuse: an unknown type or name, a cycle, more than MAX_LAYERS layers.
 */
export function compileInstance(filesystem: FilesystemSpec, all: readonly FilesystemSpec[]): InstancePlan {
  const nodes: InstancePlanNode[] = [];
  let count = 0;
  const refuse = (message: string) =>
    new DicicloError('SPEC_INVALID', `The stack of filesystem "${filesystem.name}" ${message}.`, {
      exit: ExitStatus.usage,
    });

  function expand(node: StackNode, trail: readonly string[]): string {
    if (isReference(node)) {
      const name = String(node.options.name);
      const target = all.find((other) => other.name === name);
      if (!target) throw refuse(`names the filesystem "${name}", which is not there`);
      if (trail.includes(name)) throw refuse(`contains itself: ${[...trail, name].join(' -> ')}`);
      return expand(target.stack, [...trail, name]);
    }
    const libservice = findLibservice(node.type);
    if (!libservice) throw refuse(`names the libservice "${node.type}", which this version lacks`);
    if (count >= MAX_LAYERS) throw refuse(`has more than ${MAX_LAYERS} layers`);
    const id = `${filesystem.name}.${count}`;
    count += 1;
    const children: Record<string, string[]> = {};
    for (const role of Object.keys(node.children).sort())
      children[role] = (node.children[role] ?? []).map((child) => expand(child, trail));
    nodes.push({
      id,
      type: node.type,
      kind: libservice.kind,
      options: withDefaults(libservice, node.options),
      children,
    });
    return id;
  }

  const root = expand(filesystem.stack, [filesystem.name]);
  return { version: 1, instance: filesystem.name, root, nodes };
}
