/**
 * The registry: which libservices this version has, and what all of them share (defaults, host checks).
 */
import type { Finding, InstancePlan } from '../engine/types.js';
import { cache } from './cache.js';
import { local } from './local.js';
import { passthrough } from './passthrough.js';
import type { Libservice } from './types.js';

export type { ChildRole, Libservice, LibserviceOption, OptionType } from './types.js';

/** Sorted by type. */
export const libservices: readonly Libservice[] = [cache, local, passthrough];

const byType = new Map(libservices.map((libservice) => [libservice.type, libservice]));

/** Names of the design's catalogue that this version lacks: refused by name, not as a spelling mistake. */
export const plannedLibservices: readonly string[] = [
  'blockcache',
  'blockdedup',
  'cephfs',
  'chunks',
  'dedup',
  'delay',
  'ext4',
  'fault',
  'kvfs',
  'log',
  'nbd',
  'nfs',
  'quota',
  'rbd',
  'rocksdb',
  'snapshot',
  'throttle',
  'trace',
  'union',
  'volume',
  'wal',
];

export function findLibservice(type: string): Libservice | undefined {
  return byType.get(type);
}

/** The options with every default filled in, keys sorted. */
export function withDefaults(libservice: Libservice, options: Record<string, unknown>): Record<string, unknown> {
  const full: Record<string, unknown> = {};
  for (const { name, default: fallback } of libservice.options) {
    const value = options[name] ?? fallback;
    if (value !== undefined) full[name] = value;
  }
  return full;
}

/** Looks at this host for everything the nodes of a compiled instance need (directories, packages). Never rejects. */
export async function hostChecks(plan: InstancePlan): Promise<Finding[]> {
  const findings = await Promise.all(plan.nodes.map((node) => byType.get(node.type)?.checkHost(node.options) ?? []));
  return findings.flat();
}
