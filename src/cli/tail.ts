/** The end of a log file, and what is added to it. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Interrupt } from './interrupt.js';

/** Read at most this much of the end, in bytes. */
const MAX_TAIL_BYTES = 16 * 1024 * 1024;
const FOLLOW_MILLISECONDS = 200;

async function read(handle: FileHandle, start: number, end: number): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start);
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
  return buffer.subarray(0, bytesRead);
}

/** The last `count` lines; none when there is no file yet. `end` is the size that was seen. */
export async function lastLines(file: string, count: number): Promise<{ lines: string[]; end: number }> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { lines: [], end: 0 };
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const text = (await read(handle, Math.max(0, size - MAX_TAIL_BYTES), size)).toString('utf8');
    const lines = text.split('\n');
    if (lines.at(-1) === '') lines.pop();
    return { lines: count === 0 ? [] : lines.slice(-count), end: size };
  } finally {
    await handle.close();
  }
}

/** Writes what is added after `start` until interrupted. A file that was cut is read from its start. */
export async function followFile(
  file: string,
  start: number,
  write: (text: string) => void,
  interrupt: Interrupt,
): Promise<void> {
  const decoder = new TextDecoder();
  let position = start;
  while (!interrupt.signal.aborted) {
    const size = await stat(file).then(
      (found) => found.size,
      () => position,
    );
    if (size < position) position = 0;
    if (size > position) {
      const handle = await open(file, 'r');
      try {
        const bytes = await read(handle, position, Math.min(size, position + MAX_TAIL_BYTES));
        position += bytes.length;
        write(decoder.decode(bytes, { stream: true }));
      } finally {
        await handle.close();
      }
    } else await interrupt.sleep(FOLLOW_MILLISECONDS);
  }
}
