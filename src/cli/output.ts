/** How answers look: tables and fields for people, YAML and JSON for programs. */
import type { styleText } from 'node:util';

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml' | 'name';

/** How one kind of answer is shown to people, and its names. */
export interface View<T> {
  text(value: T, wide: boolean): string;
  names?(value: T): string[];
}

export interface Column<Row> {
  title: string;
  value(row: Row): string | number | null | undefined;
  /** Only with `-o wide`. */
  wide?: boolean;
}

/** Columns aligned by content, two spaces apart; numbers to the right. `-` stands for nothing. */
export function renderTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[], wide = false): string {
  const shown = columns.filter((column) => wide || !column.wide);
  const cells = rows.map((row) => shown.map((column) => column.value(row)));
  const text = cells.map((line) =>
    line.map((cell) => (cell === null || cell === undefined || cell === '' ? '-' : String(cell))),
  );
  const widths = shown.map((column, index) =>
    Math.max(column.title.length, ...text.map((line) => (line[index] as string).length)),
  );
  const right = shown.map((_, index) => cells.length > 0 && cells.every((line) => typeof line[index] === 'number'));
  const line = (parts: string[]) =>
    parts
      .map((part, index) =>
        right[index] ? part.padStart(widths[index] as number) : part.padEnd(widths[index] as number),
      )
      .join('  ')
      .trimEnd();
  return `${[line(shown.map((column) => column.title)), ...text.map(line)].join('\n')}\n`;
}

/** `name:  value` lines; nothing for undefined. */
export function renderFields(fields: Record<string, string | number | null | undefined>): string {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...entries.map(([name]) => name.length));
  return entries
    .map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${value === null || value === '' ? '-' : value}\n`)
    .join('');
}

/** A view of a list: a table, or `empty` when there is nothing. */
export function listView<Row>(
  columns: readonly Column<Row>[],
  name: (row: Row) => string,
  empty: string,
): View<readonly Row[]> {
  return {
    text: (rows, wide) => (rows.length === 0 ? `${empty}\n` : renderTable(rows, columns, wide)),
    names: (rows) => rows.map(name),
  };
}

export type Style = Parameters<typeof styleText>[0];
