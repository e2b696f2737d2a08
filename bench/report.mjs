/**
 * What the parts of the bench hand in, and how it is printed: tables of medians with their spread, and goals with what was seen beside them.
 */
import os from 'node:os';

export const unique = (list) => [...new Set(list)];

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Half of the values lie within this share of the median, on either side. */
export function spread(values) {
  const middle = median(values);
  return middle ? median(values.map((value) => Math.abs(value - middle))) / middle : 0;
}

/** The median of round-by-round ratios: both sides of each were measured within moments of each other. */
export function ratio(above, below) {
  return median(above.map((value, i) => value / below[i]));
}

export function table(title, rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  const line = (row) =>
    row.map((cell, i) => (i ? String(cell).padStart(widths[i]) : String(cell).padEnd(widths[i]))).join('  ');
  return `${title}\n${rows.map(line).join('\n')}\n`;
}

export function nanoseconds(ns) {
  if (Math.abs(ns) < 10_000) return `${Math.round(ns)} ns`;
  if (Math.abs(ns) < 1_000_000) return `${(ns / 1000).toPrecision(3)} us`;
  return `${(ns / 1e6).toPrecision(3)} ms`;
}

/** One line of the goals: `most` and `least` bound the figure. */
export function goal(what, figure, { most, least, unit = 'x', rival = '' }) {
  const met =
    Number.isFinite(figure) && (most === undefined || figure <= most) && (least === undefined || figure >= least);
  return { what, figure, most, least, unit, rival, met };
}

export function goalsTable(goals) {
  const show = (value, unit) => `${value.toPrecision(3)}${unit === 'x' ? ' x' : ` ${unit}`}`;
  const rows = goals.map(({ what, figure, most, least, unit, rival, met }) => [
    what,
    show(figure, unit),
    most === undefined ? `>= ${show(least, unit)}` : `<= ${show(most, unit)}`,
    met ? 'met' : 'NOT MET',
    rival,
  ]);
  return table('goals', [['', 'figure', 'goal', '', 'against'], ...rows]);
}

/** The machine and the versions of what is compared. */
export function machine(versions) {
  const [cpu] = os.cpus();
  return {
    cpu: cpu?.model.trim(),
    cpus: os.availableParallelism(),
    memoryMiB: Math.round(os.totalmem() / 2 ** 20),
    kernel: os.release(),
    node: process.versions.node,
    load: os.loadavg()[0],
    ...versions,
  };
}
