/**
 * Fault points for tests. `DICICLO_TEST_STOP_AFTER=step` (or `step:N` for its Nth passing) ends this process by SIGKILL right there,
 * as a power cut would; `DICICLO_TEST_TRACE_STEPS=FILE` appends every step passed. Without these variables a no-op.
 */
import { appendFileSync } from 'node:fs';

const passed = new Map<string, number>();

export function faultPoint(step: string): void {
  const trace = process.env.DICICLO_TEST_TRACE_STEPS;
  const stop = process.env.DICICLO_TEST_STOP_AFTER;
  if (!trace && !stop) return;
  const count = (passed.get(step) ?? 0) + 1;
  passed.set(step, count);
  if (trace) appendFileSync(trace, `${step}:${count}\n`);
  if (stop === step || stop === `${step}:${count}`) process.kill(process.pid, 'SIGKILL');
}
