/**
 * Quantities as a spec writes them, and as people read them: sizes in bytes (`512Mi`), durations in milliseconds (`10s`), cores (`1.5`).
 * Parsers return undefined for what is no quantity; the caller says where it stood.
 */

const SIZE_UNITS: Record<string, number> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};
const DURATION_UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** For the published schema and for the parsers alike. */
export const SIZE_PATTERN = '^(0|[1-9][0-9]{0,15})([.][0-9]{1,6})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$';
export const DURATION_PATTERN = '^(0|(0|[1-9][0-9]{0,11})([.][0-9]{1,3})?(ms|s|m|h))$';
export const CORES_PATTERN = '^(0|[1-9][0-9]{0,4})([.][0-9]{1,3})?$';
export const MAX_CORES = 65_536;

/** Bytes; undefined when it is no whole number of bytes below 2^53. */
export function parseSize(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const match = typeof value === 'string' ? /^([0-9]+(?:[.][0-9]+)?)([kMGTP]i?|Ki)?$/.exec(value) : null;
  if (!match || !new RegExp(SIZE_PATTERN).test(value as string)) return undefined;
  const bytes = Number(match[1]) * (SIZE_UNITS[match[2] ?? ''] as number);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Milliseconds, whole; a bare number has no unit and is refused, but for 0. */
export function parseDuration(value: unknown): number | undefined {
  if (value === 0 || value === '0') return 0;
  if (typeof value !== 'string' || !new RegExp(DURATION_PATTERN).test(value)) return undefined;
  const match = /^([0-9.]+)(ms|s|m|h)$/.exec(value);
  if (!match) return undefined;
  const milliseconds = Number(match[1]) * (DURATION_UNITS[match[2] as string] as number);
  return Number.isSafeInteger(milliseconds) ? milliseconds : undefined;
}

/** Cores, to the thousandth; at least one thousandth. */
export function parseCores(value: unknown): number | undefined {
  if (typeof value === 'string' && !new RegExp(CORES_PATTERN).test(value)) return undefined;
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const cores = Math.round(Number(value) * 1000) / 1000;
  return cores > 0 && cores <= MAX_CORES ? cores : undefined;
}

/** The shortest exact form a spec may hold: 67108864 -> `64Mi`, 1000 -> `1000`. */
export function formatSize(bytes: number): string {
  for (const unit of ['Pi', 'Ti', 'Gi', 'Mi', 'Ki']) {
    const factor = SIZE_UNITS[unit] as number;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

/** The shortest exact form a spec may hold: 60000 -> `1m`, 1500 -> `1500ms`. */
export function formatDuration(milliseconds: number): string {
  for (const unit of ['h', 'm', 's']) {
    const factor = DURATION_UNITS[unit] as number;
    if (milliseconds >= factor && milliseconds % factor === 0) return `${milliseconds / factor}${unit}`;
  }
  return `${milliseconds}ms`;
}

/** For people, rounded: 1610612736 -> `1.5Gi`. */
export function humanSize(bytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)}${units[unit]}`;
}
