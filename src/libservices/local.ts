/**
 * local: a directory of the host as a file tree, confined to it (no path leaves it, symbolic links included).
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import type { Finding } from '../engine/types.js';
import type { Libservice } from './types.js';

async function checkHost(options: Record<string, unknown>): Promise<Finding[]> {
  const path = String(options.path);
  const finding = { id: `local.path:${path}`, title: `directory ${path}` };
  try {
    if (!(await stat(path)).isDirectory()) {
      return [
        { ...finding, status: 'missing', detail: `${path} is not a directory.`, fix: 'name a directory in local.path' },
      ];
    }
    await access(
      path,
      options.readOnly === true ? constants.R_OK | constants.X_OK : constants.R_OK | constants.W_OK | constants.X_OK,
    );
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT')
      return [
        { ...finding, status: 'missing', detail: `The directory ${path} does not exist.`, fix: `mkdir -p ${path}` },
      ];
    const readOnlyDisk = code === 'EROFS';
    const detail = readOnlyDisk
      ? `${path} is on a filesystem that is mounted read-only.`
      : `${path} cannot be used (${code}).`;
    return [
      { ...finding, status: 'missing', detail, fix: readOnlyDisk ? 'set local.readOnly: true' : `ls -ld ${path}` },
    ];
  }
  return [{ ...finding, status: 'ok', detail: 'A directory that can be used.' }];
}

export const local: Libservice = {
  type: 'local',
  kind: 'file',
  version: 1,
  summary: 'A host directory, confined to it',
  options: [
    { name: 'path', type: 'path', required: true, help: 'Absolute path of the directory on the host; it must exist.' },
    { name: 'readOnly', type: 'boolean', default: false, help: 'Refuse every change with EROFS.' },
  ],
  children: [],
  statistics: [
    'bytesRead',
    'bytesWritten',
    'descriptors',
    'lookups',
    'nodes',
    'parked',
    'reads',
    'reopens',
    'syncs',
    'writes',
  ],
  checkHost,
};
