/** Real programs, unmodified, through each door and across doors. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { type Door, doors, eager, operations, sharedPool, total } from './harness.js';

const other = (door: Door): Door => (door === 'library' ? 'kernel' : 'library');
const pool = sharedPool();

describe.each(doors)('through the %s door', (door) => {
  test('sqlite3: transactions, journal and WAL modes, integrity', async () => {
    for (const mode of ['delete', 'wal']) {
      const file = `${door}-${mode}.db`;
      const insert =
        'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i, hex(randomblob(60)) FROM n;';
      await pool.sh(
        door,
        `sqlite3 ${file} 'PRAGMA journal_mode=${mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); BEGIN; ${insert} COMMIT; CREATE INDEX i ON t(b);'`,
      );
      await pool.sh(
        door,
        `sqlite3 ${file} "UPDATE t SET b = b || 'x' WHERE a % 7 = 0; DELETE FROM t WHERE a % 5 = 0; VACUUM;"`,
      );
      for (const reader of [door, other(door)])
        expect(
          await pool.sh(reader, `sqlite3 ${file} 'PRAGMA integrity_check; SELECT count(*), sum(length(b)) FROM t;'`),
        ).toMatch(/^ok\n4000\|/);
      const onHost = await execa('sqlite3', [
        path.join(pool.backing, file),
        'PRAGMA integrity_check; SELECT count(*) FROM t;',
      ]);
      expect(onHost.stdout).toBe('ok\n4000');
    }
  }, 300_000);

  test('tar and coreutils: a tree goes round unchanged', async () => {
    const script = `
      rm -rf tree-${door} copy-${door} && mkdir tree-${door} && cd tree-${door}
      mkdir -p a/b/c 'with space' && for i in $(seq 200); do head -c $((i * 137)) /dev/urandom > a/file-$i; done
      ln -s ../a/file-1 a/link && ln a/file-2 a/hard && chmod 640 a/file-3 && touch -d '2001-02-03 04:05:06' a/file-4 && : > empty && truncate -s 3M sparse
      mkfifo pipe && echo 'text' > 'with space/x y' && cd ..
      tar -cf t-${door}.tar tree-${door} && mkdir copy-${door} && tar -xf t-${door}.tar -C copy-${door} && diff -r --no-dereference tree-${door}/a copy-${door}/tree-${door}/a
      cmp tree-${door}/sparse copy-${door}/tree-${door}/sparse && test -p copy-${door}/tree-${door}/pipe
      test "$(stat -c '%a %Y' tree-${door}/a/file-3 tree-${door}/a/file-4)" = "$(stat -c '%a %Y' copy-${door}/tree-${door}/a/file-3 copy-${door}/tree-${door}/a/file-4)"
      test "$(stat -c %i copy-${door}/tree-${door}/a/file-2)" = "$(stat -c %i copy-${door}/tree-${door}/a/hard)"
      cp -a tree-${door}/a cp-${door} && diff -r --no-dereference tree-${door}/a cp-${door} && mv cp-${door} mv-${door} && rm -r mv-${door}
      sort -o sorted <(ls tree-${door}/a) && sed -i 's/file/FILE/' sorted && grep -c FILE sorted && du -s tree-${door} > /dev/null && find tree-${door} -type f | wc -l`;
    expect(await pool.sh(door, script)).toBe('200\n204');
    // The same tree through the other door and on the host, byte for byte.
    const digest = `cd tree-${door} && find . -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`;
    const here = await pool.sh(door, digest);
    expect(await pool.sh(other(door), digest)).toBe(here);
    expect((await execa('sh', ['-c', digest], { cwd: pool.backing })).stdout).toBe(here);
  }, 300_000);

  test('shell redirections, here-documents, shared offsets', async () => {
    const script = `
      (echo one; echo two) > r && { echo three; echo four; } >> r && cat < r
      exec 3<> r && read -r first <&3 && echo "first $first" && printf 'XXX\\n' >&3 && exec 3>&- && cat r
      cat > here <<EOF
a $first
EOF
      cat here && (read -r x; read -r y; echo "$y-$x") < r
      sh -c 'echo child >> r' && tail -n 1 r && ls missing 2> err || cat err | wc -l`;
    expect((await pool.sh(door, `mkdir -p sh-${door} && cd sh-${door}\n${script}`)).split('\n')).toEqual([
      'one',
      'two',
      'three',
      'four',
      'first one',
      'one',
      'XXX',
      'three',
      'four',
      'a one',
      'XXX-one',
      'child',
      '1',
    ]);
  });

  test('git: commit, clone, gc, fsck', async () => {
    const script = `
      export HOME=/nonexistent GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
      rm -rf g-${door} c-${door} && git init -q g-${door} && cd g-${door}
      for i in $(seq 40); do echo "line $i" >> file && echo $i > f$i && git add -A && git commit -qm "c $i"; done
      git gc -q && git fsck --strict 2>&1 && cd .. && git clone -q g-${door} c-${door} && cd c-${door} && git log --oneline | wc -l && git status --porcelain | wc -l`;
    expect(await pool.sh(door, script)).toBe('40\n0');
  }, 300_000);

  test('python3 and a compiler', async () => {
    await pool.sh(
      door,
      `cat > p-${door}.py <<'EOF'
import os, tempfile, shutil, mmap
d = tempfile.mkdtemp(dir='.')
with open(d + '/x', 'w+b') as f:
    f.write(b'abc' * 1000); f.seek(10); assert f.read(3) == b'bca'; f.truncate(100); f.flush(); os.fsync(f.fileno())
    m = mmap.mmap(f.fileno(), 0); assert m[:3] == b'abc'; m[0:3] = b'XYZ'; m.flush(); m.close()
assert open(d + '/x', 'rb').read(3) == b'XYZ'
assert os.stat(d + '/x').st_size == 100 and os.listdir(d) == ['x']
os.rename(d + '/x', d + '/y'); shutil.rmtree(d); assert not os.path.exists(d)
EOF
      python3 p-${door}.py`,
    );
    await pool.sh(
      door,
      `printf '#include <stdio.h>\\nint main(void){puts("built");return 0;}\\n' > m-${door}.c && gcc -O1 -o m-${door} m-${door}.c && test "$(./m-${door})" = built`,
    );
  }, 300_000);
});

if (eager)
  test('the library carries what a program does with its files', async () => {
    await pool.engine.resetStats(pool.pool);
    const script = `
import os
for i in range(50):
    with open(f'count-{i}', 'wb', buffering=0) as f:
        for _ in range(10): f.write(b'x' * 1000)
    assert os.stat(f'count-{i}').st_size == 10000
    with open(f'count-{i}', 'rb') as f: assert len(f.read()) == 10000
    os.rename(f'count-{i}', f'moved-{i}'); os.unlink(f'moved-{i}')`;
    const { status, output } = await pool.tryRun('library', ['python3', '-c', script]);
    expect(output).toBe('');
    expect(status).toBe(0);
    const counts = await operations(pool);
    expect(counts.write).toEqual({ library: 500, kernel: 0 });
    expect(counts.unlink).toEqual({ library: 50, kernel: 0 });
    expect(counts.rename).toEqual({ library: 50, kernel: 0 });
    expect(total(counts, 'library') / (total(counts, 'library') + total(counts, 'kernel'))).toBeGreaterThan(0.99);
  });

test('what one door writes the other sees at once', async () => {
  for (const door of doors) {
    const script = Array.from({ length: 20 }, (_, i) => `echo ${i} > seen-${i}`).join('; ');
    await pool.sh(door, script);
    expect(await pool.sh(other(door), 'cat $(ls seen-* | sort -V) | tr "\\n" " "')).toBe(
      `${Array.from({ length: 20 }, (_, i) => i).join(' ')} `,
    );
    await pool.sh(door, 'rm seen-*');
    expect((await pool.tryRun(other(door), ['sh', '-c', 'ls seen-*'])).status).not.toBe(0);
  }
  await pool.sh('library', 'echo old > both');
  expect(await pool.sh('kernel', 'cat both; stat -c %s both')).toBe('old\n4');
  await pool.sh('library', 'echo longer > both');
  expect(await pool.sh('kernel', 'cat both; stat -c %s both')).toBe('longer\n7');
  await pool.sh('kernel', 'printf x >> both');
  expect(await pool.sh('library', 'cat both; stat -c %s both')).toBe('longer\nx8');
  expect(readFileSync(path.join(pool.backing, 'both'), 'utf8')).toBe('longer\nx');
});

test('a mount is seen inside the pool only', () => {
  expect(existsSync(path.join(pool.mount, 'both'))).toBe(false);
});
