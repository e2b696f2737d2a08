/**
 * What a pool has used, read from its control groups: the kernel's own numbers.
 */
import { type Context, nameOf } from './context.js';
import { poolPaths } from './paths.js';
import { groupOf } from './pools.js';
import { processUse } from './process.js';
import { livingInit, type PoolRecord, readInit } from './state.js';
import type { Accounting } from './types.js';

export function accountPool(context: Context, record: PoolRecord): Accounting {
  const usage = context.resources.usage(groupOf(record));
  const paths = poolPaths(context.runtime, record.tenant, record.pool);
  const service = livingInit(paths, record) ? (readInit(paths)?.service ?? null) : null;
  return {
    pool: nameOf(record),
    since: record.createdAt,
    cpu: {
      seconds: usage.cpuSeconds,
      user: usage.userSeconds,
      system: usage.systemSeconds,
      throttledSeconds: usage.throttledSeconds,
    },
    memory: {
      bytes: usage.memoryBytes,
      peakBytes: usage.memoryPeakBytes,
      limitBytes: usage.memoryLimitBytes,
      anonBytes: usage.anonBytes,
      fileBytes: usage.fileBytes,
      shmemBytes: usage.shmemBytes,
    },
    io: {
      readBytes: usage.readBytes,
      writeBytes: usage.writeBytes,
      readOperations: usage.readOperations,
      writeOperations: usage.writeOperations,
    },
    processes: { current: usage.processes },
    service: service ? processUse(service.pid) : null,
  };
}
