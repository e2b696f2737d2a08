/** Answers about names and attributes that need no request: whatever was acknowledged to anybody, through either door, is what the next question is answered with. */
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Door, makePool, sharedPool } from './harness.js';

/** What a process can be told of a name, as one line. Times are left out that a look may move. */
const questions = `
import errno, os
def told(call, *args, **more):
    try: return call(*args, **more)
    except OSError as error: return errno.errorcode[error.errno]
def attributes(st):
    return st if isinstance(st, str) else (st.st_mode, st.st_ino, st.st_nlink, st.st_uid, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
def is_open(name):
    fd = told(os.open, name, os.O_RDONLY | os.O_NONBLOCK)
    if isinstance(fd, str): return fd
    os.close(fd)
    return 'open'
def state(name):
    return repr((attributes(told(os.lstat, name)), attributes(told(os.stat, name)), told(os.access, name, os.F_OK), told(os.access, name, os.X_OK), told(os.readlink, name), is_open(name)))
`;
/** Asks the same questions again, so that it holds leases on every answer; each line with names is answered with what it is told of them then. */
const asker = `
import sys
from questions import *
held = [os.open(name, os.O_RDONLY) for name in ('t/f', 't')]
names = sys.argv[1:]
while True:
    for _ in range(4):
        for name in names: state(name)
        for fd in held: os.fstat(fd)
    print('ready', flush=True)
    line = sys.stdin.readline()
    if not line: break
    print(repr([state(name) for name in line.split()] + [attributes(os.fstat(held[1]))]), flush=True)
`;
/** Changes the tree in every way, each time asking the other process what it is told, and itself. */
const changer = `
import os, subprocess, sys
from questions import *
rounds = int(sys.argv[1])
NAMES = 't t/f t/hard t/link t/new t/d t/d/x t/d/new t/moved/x t/none/none'.split()
def make(name, text='data'):
    with open(name, 'w') as file: file.write(text)
def tidy():
    for name in ('t/d/x', 't/moved/x', 't/d/new', 't/link', 't/new', 't/hard', 't/f'):
        try: os.unlink(name)
        except OSError: pass
    for name in ('t/d', 't/moved', 't/new'):
        try: os.rmdir(name)
        except OSError: pass
def prepare():
    os.mkdir('t/d'); make('t/d/x'); make('t/f'); os.link('t/f', 't/hard'); os.symlink('f', 't/link')
os.mkdir('t'); prepare()
env = dict(os.environ, LD_PRELOAD=os.environ['ASKER_PRELOAD'])
other = subprocess.Popen([sys.executable, 'asker.py'] + NAMES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
wrong = []
def check(what, names=NAMES):
    other.stdin.write(' '.join(names) + '\\n'); other.stdin.flush()
    answer = eval(other.stdout.readline())
    mine = [state(name) for name in names] + [attributes(os.stat('t'))]
    for name, a, b in zip(names + ['handle of t'], answer, mine):
        if a != b: wrong.append((what, name, a, b))
    other.stdout.readline() # it holds leases again
def retarget():
    os.symlink('d', 't/new'); os.rename('t/new', 't/link')
def append():
    with open('t/f', 'a') as file: file.write('more')
def copy():
    fd = os.open('t/f', os.O_RDWR)
    os.copy_file_range(fd, fd, 4, 0, 100); os.close(fd)
def allocate():
    fd = os.open('t/f', os.O_RDWR)
    os.posix_fallocate(fd, 0, 9000); os.close(fd)
STEPS = dict(
    create=lambda: make('t/new'), remove=lambda: os.unlink('t/new'), mkdir=lambda: os.mkdir('t/new'), rmdir=lambda: os.rmdir('t/new'), mkfifo=lambda: os.mkfifo('t/new'), remove2=lambda: os.unlink('t/new'),
    link=lambda: os.link('t/f', 't/new'), unlink=lambda: os.unlink('t/new'), symlink=lambda: os.symlink('d', 't/new'), remove3=lambda: os.unlink('t/new'), retarget=retarget,
    append=append, truncate=lambda: os.truncate('t/f', 2), rewrite=lambda: make('t/f', 'other'), copy=copy, allocate=allocate, chmod=lambda: os.chmod('t/f', 0o755), chmod2=lambda: os.chmod('t/f', 0o600),
    chown=lambda: os.chown('t/f', 5, 5), times=lambda: os.utime('t/f', (5, 6)), xattr=lambda: os.setxattr('t/f', 'user.a', b'v'), xattr2=lambda: os.removexattr('t/f', 'user.a'),
    rename=lambda: os.rename('t/f', 't/new'), rename_back=lambda: os.rename('t/new', 't/f'), rename_away=lambda: os.rename('t/f', 't/d/new'), rename_over=lambda: os.rename('t/d/new', 't/hard'),
    rename_directory=lambda: os.rename('t/d', 't/moved'), rename_directory_back=lambda: os.rename('t/moved', 't/d'))
other.stdout.readline()
check('start')
for n in range(rounds):
    for what, step in STEPS.items():
        step()
        check(what)
    tidy(); check('tidy'); prepare(); check('prepare')
other.stdin.close(); other.wait()
print('wrong', len(wrong), wrong[:2])
`;
/** One process appends and publishes each size when its write has returned, beside the mount; the other never finds less than was published before it looked. */
const race = `
import mmap, os, struct, subprocess, sys, time
directory = sys.argv[1]
path = directory + '/published'
if len(sys.argv) == 2: open(path, 'wb').write(bytes(16))
shared = mmap.mmap(os.open(path, os.O_RDWR), 16)
published = lambda: struct.unpack_from('q', shared, 0)[0]
if len(sys.argv) > 2: # the writer
    fd = os.open('grows', os.O_WRONLY | os.O_APPEND)
    for n in range(1, 100000):
        os.write(fd, b'x')
        struct.pack_into('q', shared, 0, n)
        if n % 50 == 0: time.sleep(0.002)
        if shared[8]: break
    sys.exit()
open('grows', 'w').close()
held, wrong, looks = os.open('grows', os.O_RDONLY), 0, 0
env = dict(os.environ, LD_PRELOAD=os.environ['WRITER_PRELOAD'])
writer = subprocess.Popen([sys.executable, 'race.py', directory, 'writer'], env=env)
over = time.monotonic() + 3
while time.monotonic() < over or not published():
    least = published()
    wrong += os.stat('grows').st_size < least
    least = published()
    wrong += os.fstat(held).st_size < least
    looks += 1
shared[8] = 1
writer.wait()
print('wrong', wrong)
`;
/** Children of every kind know what they are told themselves, and nothing of their parent's: each changes a name that the parent holds a lease on, and the parent one of the child's. */
const family = `
import os, subprocess, sys
def warm(name):
    for _ in range(8):
        try: os.stat(name)
        except OSError: pass
wrong = 0
for n in range(5):
    name = 'family-%d' % n
    warm(name)
    pid = os.fork()
    if pid == 0:
        if os.path.exists(name): os._exit(1)
        warm(name)
        open(name, 'w').close()
        os._exit(0 if os.path.exists(name) else 1)
    wrong += os.waitpid(pid, 0)[1] != 0
    wrong += not os.path.exists(name)
    warm(name)
    wrong += subprocess.run([sys.executable, '-c', 'import os, sys; os.stat(sys.argv[1]); os.unlink(sys.argv[1]); sys.exit(os.path.exists(sys.argv[1]))', name]).returncode != 0
    wrong += os.path.exists(name)
print('wrong', wrong)
`;

describe.each(['write-through', 'write-back'])('cache %s', (mode) => {
  const pool = sharedPool(`[cache: {size: 16Mi, mode: ${mode}}, local: {path: BACKING}]`);

  const leased = async () =>
    ((await pool.engine.stats(pool.pool)) as unknown as { clients: { leasedAnswers: number } }).clients.leasedAnswers;
  /** A directory with the programs; how to start the changer there through a door, the asker always through the library. */
  const prepare = async (name: string) => {
    await pool.sh('kernel', `mkdir ${name}`);
    for (const [file, text] of Object.entries({ questions, asker, changer, family, race }))
      await pool.sh('kernel', `cat > ${name}/${file}.py <<'E'\n${text}\nE`);
  };
  const change = (name: string, door: Door, rounds: number) =>
    pool.sh(
      'library',
      `cd ${name}; ASKER_PRELOAD="$LD_PRELOAD" ${door === 'kernel' ? 'env -u LD_PRELOAD ' : ''}python3 changer.py ${rounds}`,
      { timeout: 100_000 },
    );

  test.each<Door>(['library', 'kernel'])(
    'changes by the %s door',
    async (door) => {
      await prepare(door);
      const before = await leased();
      expect(await change(door, door, 4)).toBe('wrong 0 []');
      expect((await leased()) - before).toBeGreaterThan(1000);
    },
    120_000,
  );

  test.each<Door>(['library', 'kernel'])(
    'races with a writer by the %s door',
    async (door) => {
      await prepare(`race-${door}`);
      const preload = door === 'kernel' ? '' : '"$LD_PRELOAD"';
      const run = `cd race-${door}; WRITER_PRELOAD=${preload} python3 race.py ${pool.work}`;
      expect(await pool.sh('library', run, { timeout: 100_000 })).toBe('wrong 0');
    },
    120_000,
  );

  test('the service is killed in between', async () => {
    await prepare('killed');
    const before = await pool.servicePid();
    const running = change('killed', 'library', 12);
    await new Promise((resolve) => setTimeout(resolve, 700));
    process.kill(before, 'SIGKILL');
    // A change that must happen once and was under way answers EIO: then the program ends, which says nothing about leases.
    const result = await running.catch((error: Error) => {
      expect(error.message).toContain('Input/output error');
      return 'wrong 0 []';
    });
    expect(result).toBe('wrong 0 []');
    await expect.poll(() => pool.servicePid(), { timeout: 20_000 }).not.toBe(before);
  }, 300_000);

  test('forks and programs', async () => {
    await prepare('family');
    expect(await pool.sh('library', 'cd family; python3 family.py', { timeout: 110_000 })).toBe('wrong 0');
  }, 300_000);

  test('changes behind the back are seen within the time to live', async () => {
    writeFileSync(path.join(pool.backing, 'behind'), 'a');
    const running = pool.sh(
      'library',
      `python3 -c "
import os, time
seen, over = set(), time.monotonic() + 60
while time.monotonic() < over and (4321 not in seen or not os.path.exists('later')):
    seen.add(os.stat('behind').st_size)
    if len(seen) == 1 and not os.path.exists('looking'): open('looking', 'w').close()
print(sorted(seen), os.path.exists('later'))"`,
      { timeout: 100_000 },
    );
    await expect.poll(() => existsSync(path.join(pool.backing, 'looking')), { timeout: 50_000 }).toBe(true);
    truncateSync(path.join(pool.backing, 'behind'), 4321);
    writeFileSync(path.join(pool.backing, 'later'), '');
    expect(await running).toBe('[1, 4321] True');
  }, 300_000);
});

test('processes that do not trust each other are given none', async () => {
  const pool = await makePool(undefined, { trust: 'process' });
  try {
    await pool.sh('library', `python3 -c "import os\nfor i in range(1000): os.stat('.')"`);
    const stats = (await pool.engine.stats(pool.pool)) as unknown as { clients: { leasedAnswers: number } };
    expect(stats.clients.leasedAnswers).toBe(0);
  } finally {
    await pool.destroy();
  }
}, 300_000);
