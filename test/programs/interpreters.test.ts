/** perl, bash and Node with scripts that use all that they offer for files: each line that they print must be the same on the host and on a mount. */
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { doors, sharedPool } from '../e2e/harness.js';
import { carried, full, sameOnBoth, scripts, WRITE_BACK } from './harness.js';

const script = (name: string) => path.join(scripts, name);
const cases: {
  name: string;
  command: string[];
  env?: Record<string, string>;
  share: number;
  lines: number;
  ring?: boolean;
}[] = [
  { name: 'perl', command: ['perl', script('files.pl')], share: 0.6, lines: 120 },
  // Through a pipe: what writes to /dev/stderr would truncate a file.
  { name: 'bash', command: ['bash', '-c', `bash ${script('redirections.sh')} | cat`], share: 0.3, lines: 140 },
  { name: 'node', command: ['node', script('node.mjs')], env: { UV_USE_IO_URING: '0' }, share: 0.9, lines: 40 },
  {
    name: 'node with io_uring',
    command: ['node', script('node.mjs')],
    env: { UV_USE_IO_URING: '1' },
    share: 0.2,
    ring: true,
    lines: 40,
  },
];

describe.each(full ? ['write-through', 'write-back'] : ['write-back'])('over a cache that is %s', (mode) => {
  const pool = sharedPool(mode === 'write-back' ? WRITE_BACK : undefined);

  describe.each(full ? doors : (['library'] as const))('through the %s door', (door) => {
    test.each(cases)(
      '$name',
      async ({ name, command, env, share, lines, ring }) => {
        const seen = await carried(pool, `${name}, ${door}`, async () => {
          const { host } = await sameOnBoth(pool, door, command, { env });
          expect(host.output.split('\n').length).toBeGreaterThan(lines);
        });
        if (door !== 'library') return;
        expect(seen.share).toBeGreaterThan(share);
        if (ring) expect(seen.uncarried['io-uring']).toBeGreaterThan(0);
      },
      900_000,
    );
  });
});
