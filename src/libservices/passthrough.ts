/**
 * passthrough: hands every operation to its child unchanged. The template to copy for a new libservice, and the price of one layer in measurements.
 */
import type { Libservice } from './types.js';

export const passthrough: Libservice = {
  type: 'passthrough',
  kind: 'file',
  version: 1,
  summary: 'Hands every operation to its child',
  options: [],
  children: [{ role: 'below', kind: 'file', min: 1, max: 1, claim: true, main: true, help: 'What it stands on.' }],
  statistics: ['bytesRead', 'bytesWritten', 'reads', 'writes'],
  checkHost: async () => [],
};
