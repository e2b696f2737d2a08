/**
 * What is wrong with a spec: one Problem per place, at most MAX_SHOWN of them shown, wrapped in the one error class.
 */
import { DicicloError, ExitStatus } from '../engine/types.js';

/** Keys and indexes from the root of the document. */
export type Path = readonly (string | number)[];

export interface Problem {
  file: string;
  /** From 1. */
  line: number;
  column: number;
  /** `spec.pools[0].name`; empty for the whole document. */
  path: string;
  /** One sentence fragment, without the place. */
  message: string;
  /** `did you mean "filesystems"?` */
  hint?: string;
}

export const MAX_SHOWN = 20;

/** `['spec', 'pools', 0]` -> `spec.pools[0]`. */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[\w-]+$/.test(step)) text += text ? `.${step}` : step;
    else text += `["${step.slice(0, 80)}"]`;
  }
  return text;
}

/** `tenant.yaml:4:7: spec.pools[0]: unknown key "x"; did you mean "y"?` */
export function problemText(problem: Problem): string {
  const where = `${problem.file}:${problem.line}:${problem.column}: ${problem.path ? `${problem.path}: ` : ''}`;
  return `${where}${problem.message}${problem.hint ? `; ${problem.hint}` : ''}`;
}

/** Ordered by place; the first MAX_SHOWN, and how many more there are. Exit status 2. */
export function specError(file: string, problems: readonly Problem[]): DicicloError {
  const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
  const shown = sorted.slice(0, MAX_SHOWN);
  const first = shown[0];
  const more = sorted.length - shown.length;
  const message =
    shown.length === 1 && first
      ? problemText(first)
      : `${file} has ${sorted.length} problems${more > 0 ? ` (the first ${MAX_SHOWN} are shown)` : ''}`;
  return new DicicloError('SPEC_INVALID', message, {
    exit: ExitStatus.usage,
    hints: ['diciclo schema tenant prints what a spec may hold'],
    details: { problems: shown, total: sorted.length },
  });
}
