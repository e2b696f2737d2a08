/** fio, stress-ng and dbench: programs that only exercise and verify files. What fails on a mount has to fail on the host's filesystem too. */
import { describe, expect, test } from 'vitest';
import { doors, sharedPool } from '../e2e/harness.js';
import { carried, full, onBoth, sameOnBoth } from './harness.js';

const pool = sharedPool();

/** How each engine's input and output reaches the file: by the library, or (asynchronous, mapped) by the kernel door's descriptor. */
const ENGINES: Record<string, 'library' | 'kernel'> = {
  psync: 'library',
  sync: 'library',
  vsync: 'library',
  pvsync2: 'library',
  libaio: 'kernel',
  io_uring: 'kernel',
  mmap: 'kernel',
  posixaio: 'kernel',
};

/** stress-ng's class filesystem without what cannot be compared: `binderfs` and `procfs` have nothing to do with the directory, `inotify` and `dnotify` see only the kernel door (docs/library.md). */
const STRESSORS =
  'access chattr chdir chmod chown copy-file dentry dir dup fallocate fcntl fiemap file-ioctl filename flock fpunch fsize fstat getdent hdd io iomix link lockf lockofd mknod open rename seek sendfile symlink sync-file touch utime xattr';
const MORE_STRESSORS =
  'acl aio aiol dirdeep dirmany fanotify handle inode-flags io-uring lease locka metamix mmap msync readahead revio rmap splice unlink verity';

describe.each(full ? doors : (['library'] as const))('through the %s door', (door) => {
  test('fio verifies what it wrote, by each engine', async () => {
    for (const [engine, way] of Object.entries(ENGINES)) {
      const jobs = ['write', 'randwrite', 'randrw']
        .flatMap((pattern) => (full ? [0, 1] : [0]).map((direct) => ({ pattern, direct })))
        .map(({ pattern, direct }) => {
          const blocks = direct ? '--bs=4k' : '--bsrange=512-64k --blockalign=512';
          return `--name=${pattern}-${direct} --filename=f-${pattern}-${direct} --stonewall --rw=${pattern} --direct=${direct} ${blocks}`;
        });
      const common = `--ioengine=${engine} --size=${full ? 32 : 2}m --verify=crc32c --verify_fatal=1 --iodepth=8 --end_fsync=1`;
      // Of each job: its name and its error.
      const script = `fio --output-format=terse ${jobs.map((job) => `${job} ${common}`).join(' ')} 2>&1 | cut -d';' -f3,5`;
      const seen = await carried(pool, `fio ${engine}, ${door}`, async () => {
        const { host } = await sameOnBoth(pool, door, ['bash', '-o', 'pipefail', '-c', script]);
        expect(host.output).toContain('randrw-0;0');
      });
      if (door === 'library') {
        // The way that is meant: input and output by the library is counted, else the kernel door says that it had it.
        expect(seen.operations.write?.[way], engine).toBeGreaterThan(0);
        if (way === 'library') expect(seen.share, engine).toBeGreaterThan(0.9);
      }
    }
  }, 900_000);

  test("stress-ng's filesystem stressors end as on the host", async () => {
    const names = full ? `${STRESSORS} ${MORE_STRESSORS}` : STRESSORS;
    const script = names
      .split(' ')
      .map(
        (name) =>
          `mkdir s && stress-ng --temp-path s --${name} 1 --${name}-ops ${full ? 500 : 5} --timeout 20 --verify > log 2>&1; echo "${name} $?"; sed -n 's/.*fail: *\\[[0-9]*\\] //p' log | sed 's/[0-9][0-9]*/N/g' | sort -u; rm -rf s`,
      )
      .join('\n');
    const seen = await carried(pool, `stress-ng, ${door}`, async () => {
      const { host, mount } = await onBoth(pool, door, ['bash', '-c', script], { timeout: full ? 1_800_000 : 800_000 });
      expect(mount).toEqual(host);
      expect(host.output.split('\n').filter((line) => line.endsWith(' 0')).length).toBeGreaterThan(25);
    });
    if (door === 'library') expect(seen.share).toBeGreaterThan(0.5);
  }, 2_000_000);

  test("dbench: its file server's load, by several clients", async () => {
    const run = `dbench -c /usr/share/dbench/client.txt -D DIR -t ${full ? 30 : 3} ${full ? 8 : 3}`;
    const seen = await carried(pool, `dbench, ${door}`, async () => {
      const { mount, host } = await onBoth(pool, door, [
        'bash',
        '-c',
        `${run} 2>&1 | grep -vE '^ +[0-9]+ +[0-9]+ +[0-9.]+ MB/sec'; echo \${PIPESTATUS[0]}; ls`,
      ]);
      for (const { output } of [host, mount]) {
        expect(output).toMatch(/^ WriteX +[1-9]/m); // how many a second is the machine's affair
        expect(output).toMatch(/^Throughput \d/m);
        expect(output).toMatch(/^0$/m);
        expect(output).not.toMatch(/^\[\d+\].*failed|mismatch/m);
      }
    });
    if (door === 'library') expect(seen.share).toBeGreaterThan(0.99);
  }, 900_000);
});
