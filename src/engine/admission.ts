/**
 * What the machine can guarantee, and which CPUs a pool has for itself. Pure functions over the recorded reservations.
 */
import type { MachineFacts } from './machine.js';
import { DicicloError, ExitStatus, type Resources } from './types.js';

export interface Claim {
  /** tenant/pool */
  name: string;
  reserve: Resources;
  limit: Resources;
  /** CPUs that it has for itself now; null: none. */
  cpus: number[] | null;
}

const MEMORY_MIN_BYTES = 16 * 1024 * 1024;
/** Fractions of cores add up with rounding errors. */
const EPSILON = 1e-6;

/** Throws ADMISSION_REFUSED (exit 4), or INVALID_RESOURCES (2), with a sentence that names the numbers. */
export function admit(claims: readonly Claim[], machine: MachineFacts): void {
  for (const claim of claims) checkOne(claim, machine);
  const cores = sum(claims, 'cores');
  if (cores > machine.cpus.length + EPSILON) {
    throw refused(claims, 'cores', `${round(cores)} cores`, `${machine.cpus.length}`);
  }
  const memory = sum(claims, 'memory');
  if (memory > machine.memoryBytes)
    throw refused(claims, 'memory', formatBytes(memory), formatBytes(machine.memoryBytes));
}

function checkOne(claim: Claim, machine: MachineFacts): void {
  const { reserve, limit, name } = claim;
  const invalid = (sentence: string) =>
    new DicicloError('INVALID_RESOURCES', `pool ${name}: ${sentence}`, { exit: ExitStatus.usage });
  for (const [key, value] of [...Object.entries(reserve), ...Object.entries(limit)]) {
    if (typeof value === 'number' && !(value >= 0)) throw invalid(`${key} ${value} is not a quantity`);
  }
  if (limit.cores !== undefined && limit.cores < (reserve.cores ?? 0) - EPSILON) {
    throw invalid(`limit.cores ${limit.cores} is below reserve.cores ${reserve.cores}`);
  }
  if (limit.cores !== undefined && limit.cores < 0.01)
    throw invalid(`limit.cores ${limit.cores} is below 0.01, too little to run anything`);
  if (limit.memory !== undefined && limit.memory < (reserve.memory ?? 0)) {
    throw invalid(
      `limit.memory ${formatBytes(limit.memory)} is below reserve.memory ${formatBytes(reserve.memory ?? 0)}`,
    );
  }
  const ceiling = memoryLimit(claim);
  if (ceiling !== undefined && ceiling < MEMORY_MIN_BYTES) {
    throw invalid(
      `${formatBytes(ceiling)} of memory is less than the ${formatBytes(MEMORY_MIN_BYTES)} that a filesystem service needs`,
    );
  }
  if (limit.memory !== undefined && limit.memory > machine.memoryBytes) {
    throw refusedOne(
      name,
      `limit.memory ${formatBytes(limit.memory)}`,
      `memory is ${formatBytes(machine.memoryBytes)}`,
    );
  }
  if (limit.cores !== undefined && limit.cores > machine.cpus.length + EPSILON) {
    throw refusedOne(name, `limit.cores ${limit.cores}`, `cores are ${machine.cpus.length}`);
  }
}

function refusedOne(name: string, asked: string, has: string): DicicloError {
  return new DicicloError('ADMISSION_REFUSED', `pool ${name} asks for ${asked}, but this machine's ${has}`, {
    exit: ExitStatus.conflict,
  });
}

function refused(claims: readonly Claim[], key: 'cores' | 'memory', wanted: string, has: string): DicicloError {
  const parts = claims
    .filter((claim) => (claim.reserve[key] ?? 0) > 0)
    .map((claim) => `${claim.name} ${key === 'memory' ? formatBytes(claim.reserve.memory ?? 0) : claim.reserve.cores}`);
  return new DicicloError(
    'ADMISSION_REFUSED',
    `the pools would reserve ${wanted} of this machine's ${has}${key === 'cores' ? ' cores' : ' of memory'} (${parts.join(', ')})`,
    {
      exit: ExitStatus.conflict,
      hints: [
        'reserve less, or destroy a pool: diciclo pool list',
        'a limit above the reservation lets a pool use what is spare',
      ],
    },
  );
}

/** The ceiling of memory in bytes: the limit, else the reservation; undefined: none. */
export function memoryLimit(claim: { reserve: Resources; limit: Resources }): number | undefined {
  return claim.limit.memory ?? (claim.reserve.memory ? claim.reserve.memory : undefined);
}

/**
 * CPUs that each pool has for itself. A pool gets some when it reserves whole cores, has no ceiling above them, and enough CPUs are free;
 * assignments that exist stay, and only the pool named `changing` may come to new ones (the others' control groups are not touched now). Highest numbers first, since interrupts and the host's own work gather on the low ones.
 */
export function assignCpus(
  claims: readonly Claim[],
  machineCpus: readonly number[],
  changing: string | null,
): Map<string, number[] | null> {
  const result = new Map<string, number[] | null>();
  const free = new Set(machineCpus);
  const wants = claims.filter(wantsOwnCpus);
  for (const claim of wants) {
    const kept = claim.cpus?.filter((cpu) => free.has(cpu)) ?? [];
    if (kept.length !== claim.reserve.cores) continue;
    result.set(claim.name, kept);
    for (const cpu of kept) free.delete(cpu);
  }
  for (const claim of wants) {
    const count = claim.reserve.cores as number;
    if (claim.name !== changing || result.has(claim.name) || count > free.size) continue;
    const taken = [...free].sort((a, b) => b - a).slice(0, count);
    for (const cpu of taken) free.delete(cpu);
    result.set(
      claim.name,
      taken.sort((a, b) => a - b),
    );
  }
  for (const claim of claims) if (!result.has(claim.name)) result.set(claim.name, null);
  return result;
}

/** CPUs for the pools that have none for themselves: what is left, or all when nothing is. */
export function sharedCpus(assigned: Iterable<number[] | null>, machineCpus: readonly number[]): number[] {
  const taken = new Set([...assigned].flatMap((cpus) => cpus ?? []));
  const left = machineCpus.filter((cpu) => !taken.has(cpu));
  return left.length > 0 ? left : [...machineCpus];
}

function wantsOwnCpus(claim: Claim): boolean {
  const cores = claim.reserve.cores ?? 0;
  return cores >= 1 && Number.isInteger(cores) && (claim.limit.cores === undefined || claim.limit.cores === cores);
}

function sum(claims: readonly Claim[], key: 'cores' | 'memory'): number {
  return claims.reduce((total, claim) => total + (claim.reserve[key] ?? 0), 0);
}

function round(cores: number): number {
  return Math.round(cores * 1000) / 1000;
}

/** Bytes as a spec writes them: `512Mi`, `1.5Gi`. */
export function formatBytes(bytes: number): string {
  const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Math.round(value * 100) / 100}${units[unit]}`;
}
