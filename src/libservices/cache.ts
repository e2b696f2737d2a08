/**
 * cache: keeps data, attributes and failed lookups of its child in memory. Its resident size never exceeds `size`; an fsync returns after the child's fsync.
 */
import type { Libservice } from './types.js';

const MEBIBYTE = 1024 * 1024;

export const cache: Libservice = {
  type: 'cache',
  kind: 'file',
  version: 1,
  summary: 'Data, attributes and negative lookups of the child, kept in memory',
  options: [
    {
      name: 'mode',
      type: 'enum',
      values: ['write-back', 'write-through'],
      default: 'write-through',
      help: 'When a write reaches the child: before it is acknowledged, or soon after (whoever looks at the file, or calls fsync, sees no difference).',
    },
    {
      name: 'size',
      type: 'size',
      default: 64 * MEBIBYTE,
      minimum: MEBIBYTE,
      maximum: 4 * MEBIBYTE * MEBIBYTE,
      help: 'Memory it may fill, from 1Mi to 4Ti.',
    },
    {
      name: 'ttl',
      type: 'duration',
      default: 1000,
      minimum: 0,
      maximum: 86_400_000,
      help: 'How long attributes and negative lookups are believed before the child is asked again; 0: ask always.',
    },
  ],
  children: [{ role: 'below', kind: 'file', min: 1, max: 1, claim: true, main: true, help: 'What is cached.' }],
  statistics: [
    'attributeHits',
    'attributeMisses',
    'bypassedBytes',
    'entries',
    'evictions',
    'hits',
    'invalidations',
    'lookupHits',
    'lookupMisses',
    'metadataBytes',
    'misses',
    'negativeHits',
    'nodeEvictions',
    'nodes',
    'pages',
    'readaheadPages',
    'residentBytes',
    'sizeBytes',
  ],
  checkHost: async () => [],
};
