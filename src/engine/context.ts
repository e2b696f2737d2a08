/**
 * What every effect needs: where state is, the machine's resources, whom to tell, and when to stop.
 */
import { errnoOf, interrupted, timedOut, wrapError } from './errors.js';
import { poolPaths, tenantFile } from './paths.js';
import { ResourceManager } from './resources/index.js';
import { type CallOptions, DicicloError, type EngineEvent } from './types.js';

export interface Context {
  readonly runtime: string;
  readonly resources: ResourceManager;
  readonly signal?: AbortSignal;
  emit(event: EngineEvent): void;
  /** milliseconds left for the call, at most `cap`; throws TIMEOUT when there are none. */
  remaining(what: string, cap: number): number;
}

export function makeContext(runtime: string, options: CallOptions = {}): Context {
  const started = Date.now();
  let resources: ResourceManager | undefined;
  return {
    runtime,
    signal: options.signal,
    get resources() {
      resources ??= new ResourceManager();
      return resources;
    },
    emit: (event) => options.events?.(event),
    remaining(what, cap) {
      if (options.timeout === undefined) return cap;
      const left = options.timeout - (Date.now() - started);
      if (left <= 0) throw timedOut(what, options.timeout);
      return Math.min(left, cap);
    },
  };
}

/** Announces a step, does it, announces its end; stops before it when the call was interrupted or its time is over. */
export async function step<T>(context: Context, id: string, title: string, work: () => Promise<T>): Promise<T> {
  if (context.signal?.aborted) throw interrupted(title);
  context.remaining(title, 1);
  context.emit({ type: 'start', step: id, title });
  try {
    const result = await work();
    context.emit({ type: 'done', step: id, title });
    return result;
  } catch (error) {
    const wrapped =
      error instanceof DicicloError ? error : wrapError(error, errnoOf(error) ?? 'FAILED', `could not ${title}`);
    context.emit({ type: 'failed', step: id, title, error: wrapped });
    throw wrapped;
  }
}

export function nameOf(record: { tenant: string; pool: string }): string {
  return `${record.tenant}/${record.pool}`;
}

export function lockFiles(runtime: string): {
  engine: string;
  tenant(name: string): string;
  pool(tenant: string, pool: string): string;
} {
  return {
    engine: `${runtime}/engine.lock`,
    tenant: (name) => tenantFile(runtime, name).replace(/\.json$/, '.lock'),
    pool: (tenant, pool) => poolPaths(runtime, tenant, pool).lock,
  };
}
