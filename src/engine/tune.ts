/**
 * `diciclo tune`: the native program measures, stores and judges the machine's copy profile (docs/contract.md §8); here it is started and its answer read.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { nativeBuild } from './paths.js';
import { DicicloError, ExitStatus } from './types.js';

export type TuneMode = 'measure' | 'dry-run' | 'show' | 'reset';

export interface CopyRow {
  direction: string;
  /** bytes; null: the class without an upper limit */
  upTo: number | null;
  routine: string;
  bytesPerSecond: number;
  libcBytesPerSecond: number;
  ratio: number;
}

export interface CopyProfile {
  version?: number;
  path: string;
  state: 'stored' | 'not-stored' | 'used' | 'none' | 'other-cpu' | 'unreadable';
  /** why a stored profile is not used */
  reason?: string;
  cpu?: string;
  measured?: string;
  cpus?: number[];
  seconds?: number;
  candidates?: string[];
  rows: CopyRow[];
}

/** diciclo-tune's own exit status for a profile that it may not write. */
const NO_PERMISSION = 3;
const OUTPUT_BYTES_MAX = 1 << 20;

export function tune(mode: TuneMode): Promise<CopyProfile> {
  const { tune: program } = nativeBuild();
  if (!existsSync(program)) {
    throw new DicicloError('NATIVE_NOT_BUILT', `${program} is not built`, {
      exit: ExitStatus.prerequisite,
      hints: ['node scripts/setup.mjs', 'or set DICICLO_BUILD_DIR to a native build'],
    });
  }
  return new Promise((resolve, reject) => {
    const argv = mode === 'measure' ? [] : [`--${mode}`];
    execFile(program, argv, { maxBuffer: OUTPUT_BYTES_MAX }, (error, stdout, stderr) => {
      if (!error) return resolve(JSON.parse(stdout) as CopyProfile);
      const denied = error.code === NO_PERMISSION;
      const said = stderr.trim().replace(/^diciclo-tune: /, '');
      reject(
        new DicicloError('TUNE_FAILED', said || error.message, {
          cause: error,
          exit: denied ? ExitStatus.permission : ExitStatus.failed,
          hints: denied
            ? [
                'run as root',
                'or set DICICLO_COPY_PROFILE to a file of your own',
                'diciclo tune --dry-run stores nothing',
              ]
            : [],
        }),
      );
    });
  });
}
