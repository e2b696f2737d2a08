import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { Interrupt } from '../../src/cli/interrupt.js';
import { LiveProgress, PlainProgress } from '../../src/cli/progress.js';
import { followFile, lastLines } from '../../src/cli/tail.js';
import type { EngineEvent } from '../../src/engine/types.js';

const event = (type: EngineEvent['type'], step: string): EngineEvent => ({ type, step, title: `make ${step}` });

describe('progress', () => {
  it('is a line for each end of a step without a terminal', () => {
    const lines: string[] = [];
    const { sink } = new PlainProgress((text) => lines.push(text));
    for (const each of [event('start', 'a'), event('done', 'a'), event('start', 'b'), event('failed', 'b')]) sink(each);
    expect(lines).toEqual(['done: make a\n', 'failed: make b\n']);
  });

  it('draws steps that run together, that follow, that fail and that never end', async () => {
    let drawn = '';
    const spy = vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
      drawn += String(chunk);
      return true;
    });
    const { isTTY } = process.stdout;
    process.stdout.isTTY = true;
    const progress = new LiveProgress();
    for (const each of [event('start', 'a'), event('start', 'b'), event('done', 'b')]) progress.sink(each);
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const each of [event('start', 'c'), event('done', 'a'), event('failed', 'c')]) progress.sink(each);
    progress.sink(event('done', 'd'));
    progress.sink(event('start', 'e'));
    await progress.close();
    spy.mockRestore();
    process.stdout.isTTY = isTTY;
    for (const step of 'abcde') expect(drawn).toContain(`make ${step}`);
  });
});

describe('the end of a log', () => {
  it('goes on with what is added, also after the file was cut, until interrupted', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'diciclo-tail-'));
    const file = path.join(folder, 'log');
    expect(await lastLines(file, 5)).toEqual({ lines: [], end: 0 });
    writeFileSync(file, 'one\ntwo\n');
    const { lines, end } = await lastLines(file, 1);
    expect(lines).toEqual(['two']);
    const interrupt = new Interrupt();
    let seen = '';
    const following = followFile(file, end, (text) => (seen += text), interrupt);
    appendFileSync(file, 'three\n');
    await vi.waitFor(() => expect(seen).toBe('three\n'), 5000);
    truncateSync(file);
    appendFileSync(file, 'new\n');
    await vi.waitFor(() => expect(seen).toBe('three\nnew\n'), 5000);
    process.emit('SIGINT');
    await following;
    interrupt.release();
    rmSync(folder, { recursive: true });
  });
});
