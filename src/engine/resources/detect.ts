/**
 * Which controllers this machine has and by which version, from /proc/self/mountinfo; each controller by itself, since hybrid hosts exist.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CONTROLLERS, type Controller, type Hierarchies } from './types.js';

/** v1's names, where they differ. */
const V1_NAMES: Record<string, Controller> = { blkio: 'io' };

/** `controllersOf` reads a v2 mount's cgroup.controllers; both are arguments so that the function is pure for tests. */
export function parseHierarchies(mountinfo: string, controllersOf: (mount: string) => string): Hierarchies {
  const found: Hierarchies = {};
  for (const line of mountinfo.split('\n')) {
    // 36 35 98:0 /root /mount/point options ... - type source superoptions
    const [left, right] = line.split(' - ');
    if (!left || !right) continue;
    const mount = octalEscapes(left.split(' ')[4] ?? '');
    const [type, , superOptions = ''] = right.split(' ');
    if (type === 'cgroup') {
      for (const option of superOptions.split(',')) take(found, V1_NAMES[option] ?? option, 1, mount);
    } else if (type === 'cgroup2') {
      for (const name of controllersOf(mount).split(/\s+/)) take(found, name, 2, mount);
    }
  }
  return found;
}

/** The machine's own controllers. */
export function detectHierarchies(): Hierarchies {
  return parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'), (mount) => {
    try {
      return readFileSync(path.join(mount, 'cgroup.controllers'), 'utf8').trim();
    } catch {
      return '';
    }
  });
}

function take(found: Hierarchies, name: string, version: 1 | 2, mount: string): void {
  if (!(CONTROLLERS as readonly string[]).includes(name)) return;
  const controller = name as Controller;
  // The first mount wins; a controller can be in one hierarchy only, the others are bind mounts of it.
  found[controller] ??= { version, mount };
}

function octalEscapes(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
