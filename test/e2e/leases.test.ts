/** Reads that need no request: whatever was acknowledged to anybody, through either door, is what the next read finds. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type Door, makePool, sharedPool } from './harness.js';

/** Answers each line `<least> <size>` with `ok`, or what it found instead; in between it reads the file again and again, so that it holds leases on every page. */
const reader = `
import os, select, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
while True:
    for page in range(4): os.pread(fd, 4096, page * 4096)
    if not select.select([sys.stdin], [], [], 0)[0]: continue
    line = sys.stdin.readline()
    if not line: break
    least, size = map(int, line.split())
    data = os.pread(fd, 65536, 0)
    found = [struct.unpack_from('q', data, page * 4096)[0] for page in range(len(data) // 4096)]
    print('ok' if len(data) == size and all(n >= least for n in found) else f'{least} {size}: {len(data)} {found}', flush=True)
`;
/** Changes the file in every way, each time telling the reader afterwards what it must see. */
const writer = `
import os, struct, subprocess, sys, time
name, rounds, kernel = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'kernel'
fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
PAGE = 4096
def fill(n, pages=4):
    for page in range(pages): os.pwrite(fd, struct.pack('q', n) + b'.' * (PAGE - 8), page * PAGE)
fill(0)
env = dict(os.environ, LD_PRELOAD=os.environ['READER_PRELOAD'])
reader = subprocess.Popen([sys.executable, 'r.py', name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
wrong = []
def check(least, size):
    reader.stdin.write(f'{least} {size}\\n'); reader.stdin.flush()
    answer = reader.stdout.readline().strip()
    if answer != 'ok': wrong.append(answer)
for n in range(1, rounds + 1):
    kind = n % 7
    if kind == 0:
        os.ftruncate(fd, 2 * PAGE); fill(n, 2); check(n, 2 * PAGE); fill(n); check(n, 4 * PAGE)
    elif kind == 1:
        os.ftruncate(fd, PAGE + 100); check(0, PAGE + 100); os.ftruncate(fd, 4 * PAGE); check(0, 4 * PAGE); fill(n); check(n, 4 * PAGE)
    elif kind == 2:
        for page in range(4): os.pwrite(fd, struct.pack('q', n), page * PAGE)
        check(n, 4 * PAGE)
    elif kind == 3:
        with open(name, 'r+b') as other:
            for page in range(4): other.seek(page * PAGE); other.write(struct.pack('q', n))
        check(n, 4 * PAGE)
    elif kind == 4:
        os.pwritev(fd, [struct.pack('q', n) + b'-' * (PAGE - 8)] * 4, 0); check(n, 4 * PAGE)
    elif kind == 5:
        time.sleep(0.002); fill(n); os.fsync(fd); check(n, 4 * PAGE)
    else:
        fill(n); check(n, 4 * PAGE)
reader.stdin.close(); reader.wait()
print('wrong', len(wrong), wrong[:3])
`;

describe.each(['write-through', 'write-back'])('cache %s', (mode) => {
  const pool = sharedPool(`[cache: {size: 16Mi, mode: ${mode}}, local: {path: BACKING}]`);
  beforeAll(async () => {
    await pool.sh('kernel', `cat > r.py <<'E'\n${reader}\nE\ncat > w.py <<'E'\n${writer}\nE`);
  }, 300_000);

  const leased = async () =>
    ((await pool.engine.stats(pool.pool)) as unknown as { clients: { leasedReads: number } }).clients.leasedReads;

  test.each<Door>(['library', 'kernel'])(
    'a writer by the %s door',
    async (door) => {
      const preload = door === 'kernel' ? 'env -u LD_PRELOAD ' : '';
      const run = `READER_PRELOAD="$LD_PRELOAD" ${preload}python3 w.py n-${door} 700 ${door}`;
      expect(await pool.sh('library', run, { timeout: 250_000 })).toBe('wrong 0 []');
      expect(await leased()).toBeGreaterThan(1000);
    },
    300_000,
  );

  test('the service is killed in between', async () => {
    const before = await pool.servicePid();
    const running = pool.sh('library', `READER_PRELOAD="$LD_PRELOAD" python3 w.py n-killed 1000 library`, {
      timeout: 250_000,
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    process.kill(before, 'SIGKILL');
    expect(await running).toBe('wrong 0 []');
    await expect.poll(() => pool.servicePid(), { timeout: 20_000 }).not.toBe(before);
  }, 300_000);
});

test('processes that do not trust each other map nothing of the cache', async () => {
  const pool = await makePool(undefined, { trust: 'process' });
  try {
    const script = `head -c 40960 /dev/zero > f && python3 -c "
import os
fd = os.open('f', os.O_RDONLY)
for i in range(1000): os.pread(fd, 4096, 0)
print(sum('diciclo-cache' in line for line in open('/proc/self/maps')))"`;
    expect(await pool.sh('library', script)).toBe('0');
  } finally {
    await pool.destroy();
  }
}, 300_000);
