/** git, make with a compiler, and rsync: what they make must be the same, byte for byte, on the host and on a mount. */
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { doors, eager, sharedPool } from '../e2e/harness.js';
import { carried, full, sameOnBoth, scripts } from './harness.js';

const pool = sharedPool();

/** The example programs of libfuse's headers, by their own Makefile. */
const EXAMPLES = `
  cp -r /usr/share/doc/libfuse3-dev/examples src && cd src && ls *.gz 2>/dev/null | xargs -r gunzip
  make -j2 CFLAGS="-O1 -g -ffile-prefix-map=$PWD=. -D_FILE_OFFSET_BITS=64 -I/usr/include/fuse3" hello hello_ll null passthrough passthrough_ll printcap ioctl_client poll_client 2>&1 | LC_ALL=C sort
  make hello | tail -1; touch hello.c; make -s hello; ./hello --help | head -3; strip passthrough_ll; ar rc all.a *.c && ar t all.a | wc -l
  for p in hello null passthrough passthrough_ll; do objcopy --remove-section .note.gnu.build-id $p; sha256sum < $p; done; ls | LC_ALL=C sort`;
/** A tree with hard links, links, holes, extended attributes, ACLs, odd names, times, modes and owners goes there and back by rsync -aHAXS, changes, and goes once more. */
const RSYNC = `
  mkdir -p a/d/e a/f && cd a && for i in $(seq 120); do head -c $((i * 137)) /dev/zero | tr '\\0' a > d/$i; done && ln d/1 d/e/hard && ln -s ../1 d/e/soft && ln -s gone f/dangling
  truncate -s 1M f/hole && echo x >> f/hole && setfattr -n user.one -v value d/2 && setfacl -m u:1:rw d/3 && setfacl -d -m g:2:r f && chmod 4711 d/4 && chown 3:4 d/5 && mkfifo f/fifo && touch -d '2001-02-03 04:05:06.7' d/6 && : > 'f/a b' && : > f/$'new\\nline' && chmod 1777 f && cd ..
  list() { (cd $1 && find . -printf '%p %y %m %U %G %s %n %l %T@\\n' | sed 's/ [0-9]* \\([0-9]*\\) \\([0-9.]*\\)$/ \\1 \\2/' | sed 's/^\\([^ ]* [lp] .*\\) [0-9.]*$/\\1/' | grep -v '^[^ ]* d' | LC_ALL=C sort; getfattr -Rd . 2>/dev/null | LC_ALL=C sort; getfacl -R . 2>/dev/null | LC_ALL=C sort); }
  rsync -aHAXS --delete a/ b/ && rsync -aHAXS b/ c/ && diff <(list a) <(list c) && diff -r --no-dereference a/d c/d && cmp a/f/hole c/f/hole && stat -c %i c/d/1 c/d/e/hard | uniq | wc -l
  echo more >> a/d/7 && touch -d '2002-03-04 05:06:07' a/d/7 && rm a/d/8 && mv a/d/9 a/d/nine && rsync -aHAXSi --delete a/ c/ | { grep -v '^\\.d' || true; } | LC_ALL=C sort && rsync -aHAXSni --delete a/ c/ && rsync -ac --inplace --append-verify --partial a/d/ p/ && diff -r --no-dereference a/d p && rsync -a --link-dest=$PWD/c a/ l/ && stat -c %h l/d/7 && rsync -a --fsync --checksum a/ a2/ && list a2 | sha256sum | wc -c`;

describe.each(full ? doors : (['library'] as const))('through the %s door', (door) => {
  async function check(what: string, command: string[], least: number, options: Parameters<typeof sameOnBoth>[3] = {}) {
    let output = '';
    const seen = await carried(pool, `${what}, ${door}`, async () => {
      output = (await sameOnBoth(pool, door, command, options)).host.output;
    });
    if (door === 'library' && eager) expect(seen.share).toBeGreaterThan(least);
    return output;
  }

  test('git: history, gc, repack, fsck, seven kinds of clones, push, bundles, submodules, concurrent refs', async () => {
    const env: Record<string, string> = full ? { COMMITS: '200', FSYNC: 'all' } : { COMMITS: '20' };
    const timeout = full ? 3_600_000 : 900_000;
    const output = await check('git', ['bash', path.join(scripts, 'git.sh')], 0.9, { env, timeout });
    expect(output).not.toMatch(/^(error|fatal)/m);
    expect(output.split('\n').length).toBeGreaterThan(35);
  }, 3_700_000);

  test('make and gcc: programs are the same to the byte, and run', async () => {
    await check('make, gcc', ['bash', '-e', '-c', EXAMPLES], 0.8);
  }, 900_000);

  test.runIf(full)(
    'configure, make, make install of libltdl, and its use',
    async () => {
      const command = ['bash', path.join(scripts, 'libltdl.sh')];
      const output = await check('libltdl', command, 0.7, { timeout: 1_800_000 });
      expect(output).toMatch(/^configure 0\nmake 0\ninstall 0\nanswer 42\n/);
      expect(output).toMatch(/^use 0\n[0-9a-f]{64} /m);
    },
    2_000_000,
  );

  test('rsync -aHAXS: there and back', async () => {
    const output = await check('rsync', ['bash', '-e', '-c', RSYNC], 0.7);
    expect(output).toContain('>f');
  }, 900_000);
});
