/** What was written through one door is read back through the other and in the backing directory. */
import { execa } from 'execa';
import { DicicloError, type Engine } from '../engine/types.js';
import { type Sizes, verifyChecksum } from './benchmark.js';
import { inPool } from './rounds.js';

export interface Verification {
  writtenThrough: string;
  readThrough: string;
  files: number;
  bytes: number;
  sha256: string;
  equal: boolean;
}

// One line a file: digest, size, name; RocksDB's info log grows whenever the database is opened, and LOCK and IDENTITY say nothing.
const LIST =
  'cd "$1" && find . -type f ! -name \'LOG*\' ! -name LOCK | LC_ALL=C sort | while IFS= read -r f; do printf \'%s %s %s\\n\' "$(sha256sum < "$f" | cut -d\' \' -f1)" "$(stat -c %s "$f")" "$f"; done';

export async function digest(
  engine: Engine,
  pool: string,
  directory: string,
  door: 'library' | 'kernel' | 'host',
): Promise<string> {
  const command = ['sh', '-c', LIST, 'sh', directory];
  if (door !== 'host') return inPool(engine, pool, command, door);
  const { stdout } = await execa(command[0] as string, command.slice(1));
  return stdout;
}

async function summary(text: string): Promise<{ files: number; bytes: number; sha256: string }> {
  const { createHash } = await import('node:crypto');
  const lines = text.trim().split('\n').filter(Boolean);
  const bytes = lines.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  return { files: lines.length, bytes, sha256: createHash('sha256').update(lines.join('\n')).digest('hex') };
}

/** Both directions and the backing directory; rejects at the first difference. */
export async function verifyAcross(
  engine: Engine,
  pool: string,
  databases: { writtenThrough: 'library' | 'kernel'; directory: string; backing: string }[],
  sizes: Sizes,
): Promise<Verification[]> {
  const found: Verification[] = [];
  for (const { writtenThrough, directory, backing } of databases) {
    const other = writtenThrough === 'library' ? 'kernel' : 'library';
    const own = await summary(await digest(engine, pool, directory, writtenThrough));
    for (const [readThrough, where] of [
      [other, directory],
      ['host', backing],
    ] as const) {
      const seen = await summary(await digest(engine, pool, where, readThrough));
      found.push({ writtenThrough, readThrough, ...seen, equal: seen.sha256 === own.sha256 && own.files > 0 });
    }
    // RocksDB's own checksums, block by block, through the other door.
    await inPool(engine, pool, verifyChecksum(directory, sizes), other);
  }
  const wrong = found.find((one) => !one.equal);
  if (wrong)
    throw new DicicloError(
      'DEMO_DIFFERENT',
      `What was written through the ${wrong.writtenThrough} door differs when read through ${wrong.readThrough}.`,
      {
        details: { ...wrong },
      },
    );
  return found;
}
