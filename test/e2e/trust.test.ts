/** `trust: pool` and `trust: process`: the spec's word reaches the library, whose calls go through the pool's queue or through mailboxes. */
import { afterEach, describe, expect, it } from 'vitest';
import { makePool, operations, type TestPool, total } from './harness.js';

const transports = { pool: 'queue', process: 'mailboxes' } as const;
const WORK =
  'for i in 1 2 3; do (for k in $(seq 25); do echo "$i $k" >> file-$i; read -r x < file-$i; done; cat file-$i > copy-$i; mv copy-$i new-$i) & done; wait; ' +
  'for i in 1 2 3; do test $(wc -l < file-$i) = 25; cmp file-$i new-$i; done';

describe.each(Object.entries(transports))('trust: %s', (trust, transport) => {
  let pool: TestPool | undefined;
  afterEach(async () => {
    await pool?.destroy();
    pool = undefined;
  });

  it(`carries the library's calls by ${transport}, and goes on after the service's death`, async () => {
    pool = await makePool(undefined, { trust: trust as keyof typeof transports });
    await pool.sh('library', WORK);
    expect(total(await operations(pool), 'library')).toBeGreaterThan(150);
    const queue = await pool.engine.queue(pool.pool);
    expect(queue).toMatchObject({ transport, depth: 0 });
    expect(queue.dequeued).toBeGreaterThan(150);
    // What is under way when the service dies may fail; what comes after does not.
    const running = pool.tryRun('library', ['bash', '-c', `for round in 1 2 3; do rm -f *; ${WORK}; done`]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    process.kill(await pool.servicePid(), 'SIGKILL');
    await running;
    await pool.sh('library', `rm -f *; ${WORK}`);
    expect(await pool.engine.queue(pool.pool)).toMatchObject({ transport, depth: 0 });
  }, 300_000);
});
