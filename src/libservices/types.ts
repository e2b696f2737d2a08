/**
 * What the toolkit knows of a libservice. One file per libservice declares one `Libservice`; the native module of the same name describes itself in the same
 * words (docs/contract.md §7), and a test compares both.
 */
import type { Finding, LibserviceKind } from '../engine/types.js';

/** `size` is bytes and `duration` is milliseconds once a spec is normalized; a spec writes `64Mi` and `10s`. */
export type OptionType = 'string' | 'path' | 'size' | 'integer' | 'boolean' | 'enum' | 'duration';

export interface LibserviceOption {
  name: string;
  type: OptionType;
  /** One sentence for `libservice show` and for editors. */
  help: string;
  /** No default: the spec must say it. */
  required?: boolean;
  /** In base units. */
  default?: string | number | boolean;
  /** In base units, of `size`, `integer` and `duration`. */
  minimum?: number;
  maximum?: number;
  /** The words an `enum` takes. */
  values?: readonly string[];
}

export interface ChildRole {
  role: string;
  kind: LibserviceKind;
  /** How many children the role takes. */
  min: number;
  max: number;
  /** The child is written by this parent alone: nothing else may use it. */
  claim: boolean;
  /** The next entry of a stack written as a list takes this role. */
  main: boolean;
  help: string;
}

export interface Libservice {
  type: string;
  kind: LibserviceKind;
  /** Of the options and statistics, as the native module says it. */
  version: number;
  /** One line without a full stop. */
  summary: string;
  /** Sorted by name. */
  options: readonly LibserviceOption[];
  children: readonly ChildRole[];
  /** Names of the counters it keeps, sorted. */
  statistics: readonly string[];
  /** Looks at this host for what the options need; options are normalized. Never rejects. */
  checkHost(options: Record<string, unknown>): Promise<Finding[]>;
}
