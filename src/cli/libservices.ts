/** Libservices as `libservice list` and `show` print them. */
import type { ChildRole, Libservice, LibserviceOption } from '../libservices/index.js';
import { formatDuration, formatSize } from '../spec/quantities.js';

export interface LibserviceAnswer {
  type: string;
  kind: string;
  version: number;
  summary: string;
  /** `default`, `minimum` and `maximum` as a spec writes them. */
  options: {
    name: string;
    type: string;
    help: string;
    required: boolean;
    default: string | null;
    minimum: string | null;
    maximum: string | null;
    values: string[] | null;
  }[];
  children: ChildRole[];
  statistics: string[];
}

function written(option: LibserviceOption, value: string | number | boolean | undefined): string | null {
  if (value === undefined) return null;
  if (option.type === 'size') return formatSize(Number(value));
  return option.type === 'duration' ? formatDuration(Number(value)) : String(value);
}

export function libserviceAnswer({
  type,
  kind,
  version,
  summary,
  options,
  children,
  statistics,
}: Libservice): LibserviceAnswer {
  return {
    type,
    kind,
    version,
    summary,
    options: options.map((option) => ({
      name: option.name,
      type: option.type,
      help: option.help,
      required: option.required === true,
      default: written(option, option.default),
      minimum: written(option, option.minimum),
      maximum: written(option, option.maximum),
      values: option.values ? [...option.values] : null,
    })),
    children: children.map((child) => ({ ...child })),
    statistics: [...statistics],
  };
}
