/** Specs as commands take them. */
import { DicicloError, ExitStatus, type TenantSpec } from '../engine/types.js';

/** Reads the spec of `-f`, which must be there. */
export async function requireSpec(file: string | undefined): Promise<TenantSpec> {
  if (file === undefined) {
    throw new DicicloError('USAGE', 'The spec is missing.', {
      exit: ExitStatus.usage,
      hints: ['name it with -f: -f tenant.yaml'],
    });
  }
  const { loadTenant } = await import('../spec/index.js');
  return loadTenant(file);
}
