/**
 * process: the server kind of this version. Any program of the host, run inside the pool, restarted and health-checked.
 */
import type { HealthCheck, ServerSpec } from '../engine/types.js';

/** Signals that may ask a server to stop, without `SIG`. */
export const STOP_SIGNALS = ['TERM', 'INT', 'QUIT', 'HUP', 'USR1', 'USR2', 'KILL'] as const;

/** In base units (milliseconds). */
export const PROCESS_DEFAULTS = {
  door: 'library',
  syscalls: 'symbols',
  restart: 'always',
  stopSignal: 'TERM',
  stopGrace: 10_000,
} as const;
export const HEALTH_DEFAULTS = { interval: 10_000, timeout: 5_000, retries: 3, startPeriod: 0 } as const;

type Schema = Record<string, unknown>;

function strings(more: Schema): Schema {
  return { type: 'array', minItems: 1, maxItems: 1024, items: { type: 'string', maxLength: 131_071 }, ...more };
}

/** The JSON Schema of `process`; `ref` names one of the shared definitions. */
export function processSchema(ref: (name: string) => Schema): Schema {
  const object = (properties: Record<string, Schema>, more: Schema): Schema => ({
    type: 'object',
    properties,
    patternProperties: { '^x-': {} },
    additionalProperties: false,
    ...more,
  });
  const health = object(
    {
      command: strings({ description: 'Exit status 0 is healthy.' }),
      interval: { ...ref('duration'), description: 'Between two checks; 10s.' },
      timeout: { ...ref('duration'), description: 'After which a check has failed; 5s.' },
      retries: {
        description: 'Failures in a row that make the server unhealthy.',
        type: 'integer',
        minimum: 1,
        maximum: 100,
        default: HEALTH_DEFAULTS.retries,
      },
      startPeriod: { ...ref('duration'), description: 'After the start, in which failures do not count; 0.' },
    },
    { required: ['command'] },
  );
  return object(
    {
      command: strings({ description: 'The program and its arguments; no shell.' }),
      environment: {
        description: 'Added to the environment.',
        type: 'object',
        maxProperties: 1024,
        propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]*$' },
        additionalProperties: { type: 'string', maxLength: 131_071 },
      },
      directory: {
        description: 'Absolute path of the working directory, as the pool sees it.',
        type: 'string',
        minLength: 1,
        maxLength: 4095,
      },
      door: {
        description: 'How it reaches the filesystems.',
        enum: ['library', 'kernel'],
        default: PROCESS_DEFAULTS.door,
      },
      syscalls: {
        description:
          "What the library catches: calls of the C library's functions (symbols), or system calls too, also those that programs and the C library make themselves (dispatch; x86-64, Linux 5.11; slower).",
        enum: ['symbols', 'dispatch'],
        default: PROCESS_DEFAULTS.syscalls,
      },
      restart: { enum: ['always', 'on-failure', 'never'], default: PROCESS_DEFAULTS.restart },
      stopSignal: {
        enum: [...STOP_SIGNALS, ...STOP_SIGNALS.map((signal) => `SIG${signal}`)],
        default: PROCESS_DEFAULTS.stopSignal,
      },
      stopGrace: { ...ref('duration'), description: 'Between the stop signal and KILL; 10s.' },
      health,
    },
    { required: ['command'] },
  );
}

/** What the schema has let through, durations still as written. */
export interface RawProcess {
  command: string[];
  environment?: Record<string, string>;
  directory?: string;
  door?: 'library' | 'kernel';
  syscalls?: 'symbols' | 'dispatch';
  restart?: 'always' | 'on-failure' | 'never';
  stopSignal?: string;
  stopGrace?: string | number;
  health?: {
    command: string[];
    interval?: string | number;
    timeout?: string | number;
    retries?: number;
    startPeriod?: string | number;
  };
}

/** The full form of a process server; `duration` turns what was written into milliseconds, or gives the fallback. */
export function normalizeProcess(
  name: string,
  raw: RawProcess,
  duration: (value: unknown, fallback: number, key: string[]) => number,
): ServerSpec {
  const server: ServerSpec = {
    name,
    kind: 'process',
    command: [...raw.command],
    environment: { ...raw.environment },
    door: raw.door ?? PROCESS_DEFAULTS.door,
    restart: raw.restart ?? PROCESS_DEFAULTS.restart,
    stopSignal: (raw.stopSignal ?? PROCESS_DEFAULTS.stopSignal).replace(/^SIG/, ''),
    stopGrace: duration(raw.stopGrace, PROCESS_DEFAULTS.stopGrace, ['stopGrace']),
  };
  if (raw.directory !== undefined) server.directory = raw.directory;
  if (raw.syscalls === 'dispatch') server.syscalls = raw.syscalls;
  if (raw.health) {
    const health: HealthCheck = {
      command: [...raw.health.command],
      interval: duration(raw.health.interval, HEALTH_DEFAULTS.interval, ['health', 'interval']),
      timeout: duration(raw.health.timeout, HEALTH_DEFAULTS.timeout, ['health', 'timeout']),
      retries: raw.health.retries ?? HEALTH_DEFAULTS.retries,
      startPeriod: duration(raw.health.startPeriod, HEALTH_DEFAULTS.startPeriod, ['health', 'startPeriod']),
    };
    server.health = health;
  }
  return server;
}
