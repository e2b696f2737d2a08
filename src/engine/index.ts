/** The engine's door: everything that commands use. */
import { DicicloEngine } from './engine.js';
import type { Engine } from './types.js';

export * from './types.js';

/** Rejects nothing and touches nothing until a method is called, but throws NO_RUNTIME_DIRECTORY when there is no place for state. */
export function createEngine(): Engine {
  return new DicicloEngine();
}
