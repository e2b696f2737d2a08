import { describe, expect, it } from 'vitest';
import {
  formatDuration,
  formatSize,
  humanSize,
  parseCores,
  parseDuration,
  parseSize,
} from '../../src/spec/quantities.js';
import { suggest } from '../../src/spec/suggest.js';

describe('sizes', () => {
  it.each([
    ['0', 0],
    [4096, 4096],
    ['4096', 4096],
    ['512Mi', 512 * 2 ** 20],
    ['2Gi', 2 ** 31],
    ['1.5Ki', 1536],
    ['1k', 1000],
    ['3M', 3_000_000],
    ['8Pi', 8 * 2 ** 50 > Number.MAX_SAFE_INTEGER ? undefined : 8 * 2 ** 50],
  ])('%s is %s bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each([
    '',
    '-1',
    '1 Mi',
    '1mi',
    '1MB',
    '0x10',
    '1e3',
    '1.5',
    '01',
    '1.0001Ki',
    'Mi',
    '99999999Pi',
    1.5,
    -1,
    2 ** 53,
    null,
    true,
    [],
    '1Mi\n',
  ])('refuses %j', (text) => expect(parseSize(text)).toBeUndefined());

  it('are written as they were meant', () => {
    for (const bytes of [0, 1, 1000, 1024, 1536, 64 * 2 ** 20, 2 ** 31, 5 * 2 ** 40, 2 ** 52]) {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }
    expect(formatSize(64 * 2 ** 20)).toBe('64Mi');
    expect(humanSize(1.5 * 2 ** 30)).toBe('1.5Gi');
  });
});

describe('durations', () => {
  it.each([
    [0, 0],
    ['0', 0],
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5s', 1500],
    ['1m', 60_000],
    ['2h', 7_200_000],
  ])('%s is %s ms', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

  it.each([10, '10', '-1s', '1 s', '1S', '1d', '.5s', '0.0001s', '1.2345s', null, ''])('refuses %j', (text) =>
    expect(parseDuration(text)).toBeUndefined(),
  );

  it('are written as they were meant', () => {
    for (const milliseconds of [0, 1, 500, 1000, 1500, 60_000, 90_000, 3_600_000]) {
      expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
    }
  });
});

describe('cores', () => {
  it.each([
    [2, 2],
    ['1.5', 1.5],
    [0.25, 0.25],
    ['0.001', 0.001],
  ])('%s is %s', (text, cores) => expect(parseCores(text)).toBe(cores));

  it.each([0, -1, '0', '1e2', '500m', 'all', null, Number.NaN, Number.POSITIVE_INFINITY, 1e9])('refuses %s', (text) =>
    expect(parseCores(text)).toBeUndefined(),
  );
});

describe('did you mean', () => {
  it.each([
    ['filesytems', 'filesystems'],
    ['memroy', 'memory'],
    ['Mount', 'mount'],
    ['cahce', 'cache'],
    ['xyz', undefined],
    ['x'.repeat(1000), undefined],
  ])('%s: %s', (word, expected) => {
    expect(suggest(word, ['filesystems', 'memory', 'mount', 'cache', 'local'])).toBe(expected);
  });
});
