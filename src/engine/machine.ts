/**
 * How large this machine is: the cheap direct path where start-up matters, and systeminformation for people (doctor).
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { parseCpuList } from './resources/files.js';

export interface MachineFacts {
  /** CPUs that may be used, by number. */
  cpus: number[];
  memoryBytes: number;
}

/** From /proc and sysfs alone: no library, no child process. */
export function machineFacts(): MachineFacts {
  const override = process.env.DICICLO_TEST_MACHINE;
  if (override) return JSON.parse(override) as MachineFacts;
  return { cpus: onlineCpus(), memoryBytes: memoryTotal() };
}

function onlineCpus(): number[] {
  try {
    const cpus = parseCpuList(readFileSync('/sys/devices/system/cpu/online', 'utf8').trim());
    if (cpus.length > 0) return cpus;
  } catch {
    // No sysfs: the count is all there is.
  }
  return os.cpus().map((_cpu, index) => index);
}

function memoryTotal(): number {
  try {
    const match = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    if (match) return Number(match[1]) * 1024;
  } catch {
    // No /proc: what Node knows.
  }
  return os.totalmem();
}

export interface MachineDescription {
  model: string;
  physicalCores: number;
  cores: number;
  memoryBytes: number;
  distribution: string;
  kernel: string;
  virtual: boolean;
}

/** In words, by systeminformation (loaded here, since it costs tens of milliseconds); null when it is not installed or fails. */
export async function describeMachine(): Promise<MachineDescription | null> {
  try {
    const { default: information } = await import('systeminformation');
    const [cpu, memory, system, host] = await Promise.all([
      information.cpu(),
      information.mem(),
      information.osInfo(),
      information.system(),
    ]);
    return {
      model: `${cpu.manufacturer} ${cpu.brand}`.trim(),
      physicalCores: cpu.physicalCores,
      cores: cpu.cores,
      memoryBytes: memory.total,
      distribution: `${system.distro} ${system.release}`.trim(),
      kernel: system.kernel,
      virtual: host.virtual === true,
    };
  } catch {
    return null;
  }
}
