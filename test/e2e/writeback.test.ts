/** cache mode write-back: what a process was acknowledged, everybody sees, through either door, also when it is killed right after. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { doors, operations, sharedPool, until } from './harness.js';

const pool = sharedPool('[cache: {size: 64Mi, mode: write-back}, local: {path: BACKING}]');

/** Writes a growing number into `file` and says so; whoever hears it must find that number or a later one. */
const writer = `
import os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
for i in range(1, int(sys.argv[2]) + 1):
    os.pwrite(fd, struct.pack('q', i), 0)
    if i % 50 == 0:
        print(i, flush=True)
`;
const reader = `
import os, struct, sys
fd, wrong, heard = None, 0, 0
for line in sys.stdin:
    if fd is None: fd = os.open(sys.argv[1], os.O_RDONLY)
    heard += 1
    found = struct.unpack('q', os.pread(fd, 8, 0))[0]
    if found < int(line) or os.fstat(fd).st_size != 8: wrong += 1
print('heard', heard, 'wrong', wrong)
`;

test.each(doors)(
  'a reader by the %s door never sees less than was acknowledged',
  async (door) => {
    await pool.sh(
      'library',
      `cat > ${pool.mount}/w.py <<'E'\n${writer}\nE\ncat > ${pool.mount}/r.py <<'E'\n${reader}\nE`,
    );
    const preload = door === 'kernel' ? 'env -u LD_PRELOAD ' : '';
    const output = await pool.sh('library', `python3 w.py n-${door} 20000 | ${preload}python3 r.py n-${door}`);
    expect(output).toBe('heard 400 wrong 0');
  },
  120_000,
);

test('a process that is killed has written what it was acknowledged', async () => {
  const script = `import os, signal
fd = os.open('killed', os.O_WRONLY | os.O_CREAT, 0o644)
for i in range(1000): os.write(fd, b'%07d\\n' % i)
os.kill(os.getpid(), signal.SIGKILL)`;
  await pool.tryRun('library', ['python3', '-c', script]);
  const expected = Array.from({ length: 1000 }, (_, i) => `${String(i).padStart(7, '0')}\n`).join('');
  expect(await pool.sh('kernel', 'cat killed')).toBe(expected.trimEnd());
  expect(readFileSync(path.join(pool.backing, 'killed'), 'utf8')).toBe(expected);
}, 300_000);

test('a process that ends while the service is stopped, which is killed then, has written what it was acknowledged', async () => {
  const script = `import os, time
fd = os.open('left', os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, b'0000000\\n')
open('${pool.work}/ready', 'w').close()
while not os.path.exists('${pool.work}/go'): time.sleep(0.01)
for i in range(1, 1000): os.write(fd, b'%07d\\n' % i)
os._exit(0)`;
  const service = await pool.servicePid();
  const writer = pool.tryRun('library', ['python3', '-c', script]);
  await until('the writer has its grant', 60, async () => existsSync(`${pool.work}/ready`));
  process.kill(service, 'SIGSTOP');
  writeFileSync(`${pool.work}/go`, '');
  const { status } = await writer.finally(() => process.kill(service, 'SIGKILL'));
  expect(status).toBe(0);
  const expected = Array.from({ length: 1000 }, (_, i) => `${String(i).padStart(7, '0')}\n`).join('');
  expect(await pool.sh('kernel', 'cat left')).toBe(expected.trimEnd());
  expect(readFileSync(path.join(pool.backing, 'left'), 'utf8')).toBe(expected);
}, 300_000);

test('the service writes neighbours by one call, and counts each', async () => {
  await pool.engine.resetStats(pool.pool);
  const before = (await operations(pool)).write?.library ?? 0;
  await pool.sh(
    'library',
    `python3 -c "
import os
fd = os.open('log', os.O_WRONLY | os.O_CREAT, 0o644)
for i in range(5000): os.write(fd, b'x' * 100)
os.close(fd)"`,
  );
  expect((await operations(pool)).write?.library ?? 0).toBe(before + 5000);
  expect(readFileSync(path.join(pool.backing, 'log'), 'utf8')).toBe('x'.repeat(500_000));
}, 300_000);

test('sqlite3 and git on a write-back stack', async () => {
  const sql =
    'PRAGMA journal_mode=wal; CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO t SELECT i FROM n;';
  await pool.sh('library', `sqlite3 w.db '${sql}' && sqlite3 w.db 'DELETE FROM t WHERE a % 3 = 0; VACUUM;'`);
  expect(await pool.sh('kernel', "sqlite3 w.db 'PRAGMA integrity_check; SELECT count(*) FROM t;'")).toBe('ok\n13334');
  const git = `git init -q repo && cd repo && git config user.email t@example.org && git config user.name t
    for i in $(seq 100); do head -c 5000 /dev/urandom | base64 > f$i; done && git add . && git commit -qm one && git gc -q && git fsck --strict`;
  await pool.sh('library', git, { timeout: 100_000 });
  expect(await pool.sh('kernel', 'cd repo && git fsck --strict && git status --porcelain | wc -l')).toBe('0');
}, 300_000);
