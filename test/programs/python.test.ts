/** CPython's own regression tests, as Debian ships them, with their working directory and temporary files on a mount: each test method must end as it does on the host's filesystem. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type Door, doors, sharedPool } from '../e2e/harness.js';
import { carried, full, onBoth, WRITE_BACK } from './harness.js';

const FILES = ['test_os', 'test_io', 'test_shutil', 'test_tempfile', 'test_mmap', 'test_posix', 'test_fcntl'];
/** On demand: whatever else of the standard library works on files and processes. */
const MORE =
  `test_fileio test_file test_pathlib test_glob test_posixpath test_genericpath test_zipfile test_tarfile test_mailbox test_largefile test_bufio test_fileinput test_filecmp
  test_dbm test_dbm_gnu test_dbm_ndbm test_dbm_dumb test_shelve test_gzip test_bz2 test_lzma test_select test_poll test_epoll test_selectors test_import test_py_compile test_stat test_runpy test_zipimport
  test_netrc test_logging test_pty test_subprocess test_linecache test_unicode_file test_unicode_file_functions test_mimetypes test_popen test_site test_eintr test_fork1 test_wait3 test_wait4
  test_threadsignals test_univnewlines test_configparser test_plistlib`.split(/\s+/);

const pool = sharedPool(full ? WRITE_BACK : undefined);

/** {method: ok, skipped, failure or error} of a report of regrtest's. */
function outcomes(xml: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, name, body] of xml.matchAll(/<testcase name="([^"]*)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs))
    found.set(name as string, /<(skipped|failure|error)\b/.exec(body ?? '')?.[1] ?? 'ok');
  return found;
}

/** A file of FUSE's can be polled, says the kernel, so epoll takes it; a disk's answers EPERM, and so does the library (docs/doors.md, "Limits"). */
const NOT_THERE = { library: [], kernel: ['-i', 'test.test_selectors.EpollSelectorTestCase.test_register_file'] };

const command = (names: string[], door: Door) => [
  '/usr/bin/python3',
  // A file's time limit is against hangs alone; who meets it leaves no report.
  ...['-m', 'test', '--tempdir', 'DIR', '--junit-xml', 'DIR/report.xml', '--timeout', full ? '2400' : '600', '-w'],
  ...NOT_THERE[door],
  ...names,
];

test.each(full ? doors : (['library'] as const))(
  'through the %s door',
  async (door) => {
    const names = full ? [...FILES, ...MORE] : FILES;
    const seen = await carried(pool, `python's tests, ${door}`, async () => {
      const { host, mount, name } = await onBoth(pool, door, command(names, door), {
        timeout: full ? 4_800_000 : 800_000,
      });
      const expected = outcomes(readFileSync(path.join(pool.work, 'host', name, 'report.xml'), 'utf8'));
      const report = await pool.tryRun('kernel', ['cat', `${name}/report.xml`]);
      expect(report.status, mount.output).toBe(0);
      const found = outcomes(report.output);
      expect(expected.size, host.output).toBeGreaterThan(full ? 3000 : 1400);
      const ok = [...expected.values()].filter((outcome) => outcome === 'ok').length;
      process.stdout.write(`python's tests: ${expected.size} methods, ${ok} of them ok on the host\n`);
      const different = [...new Set([...expected.keys(), ...found.keys()])]
        .filter((method) => expected.get(method) !== found.get(method))
        .map((method) => `${method}: ${expected.get(method)} on the host, ${found.get(method)} here`);
      expect(different, mount.output).toEqual([]);
      expect(mount.status).toBe(host.status);
    });
    // test_largefile, of the long form, has the kernel copy 2.5 GB by sendfile, 64 KiB at a time: 76,000 reads and writes of its door.
    if (door === 'library') expect(seen.share).toBeGreaterThan(full ? 0.8 : 0.9);
  },
  full ? 5_000_000 : 900_000,
);
