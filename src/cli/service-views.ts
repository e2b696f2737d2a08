/** How the service's answers (docs/contract.md §4 and §6) are shown to people. They come from another process: whatever is missing shows as `-`. */
import type { CopyProfile, CopyRow } from '../engine/tune.js';
import { humanSize } from '../spec/quantities.js';
import { type Column, renderFields, renderTable, type View } from './output.js';

type Plain = Record<string, unknown>;

const plain = (value: unknown): Plain => (value !== null && typeof value === 'object' ? (value as Plain) : {});
const list = (value: unknown): Plain[] => (Array.isArray(value) ? value.map(plain) : []);
/** Counters that counted something; all are in the JSON. */
const counted = (value: unknown): Plain =>
  Object.fromEntries(Object.entries(plain(value)).filter(([, count]) => count !== 0));
const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
const size = (value: unknown): string | null => (typeof value === 'number' ? humanSize(value) : null);

interface OperationRow {
  door: string;
  operation: string;
  count: number | null;
  errors: number | null;
  bytes: string | null;
  each: number | null;
}

const OPERATION_COLUMNS: Column<OperationRow>[] = [
  { title: 'DOOR', value: (row) => row.door },
  { title: 'OPERATION', value: (row) => row.operation },
  { title: 'COUNT', value: (row) => row.count },
  { title: 'ERRORS', value: (row) => row.errors },
  { title: 'BYTES', value: (row) => row.bytes },
  { title: 'NS EACH', value: (row) => row.each },
];

function operationRows(instance: Plain): OperationRow[] {
  return Object.entries(plain(instance.doors)).flatMap(([door, value]) =>
    Object.entries(plain(plain(value).operations)).map(([operation, counters]) => {
      const { count, errors, bytes, nanoseconds } = plain(counters);
      const each =
        number(count) && number(nanoseconds) !== null ? Math.round(Number(nanoseconds) / Number(count)) : null;
      return { door, operation, count: number(count), errors: number(errors), bytes: size(bytes), each };
    }),
  );
}

function instanceText(instance: Plain): string {
  const rows = operationRows(instance);
  const layers = list(instance.layers)
    .map(({ id, type, statistics }) => {
      const counters = Object.entries(counted(statistics)).map(([name, value]) => `${name} ${value}`);
      return `  ${id} ${type}${counters.length > 0 ? `: ${counters.join(', ')}` : ''}\n`;
    })
    .join('');
  const operations = rows.length > 0 ? renderTable(rows, OPERATION_COLUMNS) : 'no operations yet\n';
  return `\n${instance.mountpoint ?? '(not mounted)'} (${instance.instance})\n${operations}${layers ? `layers:\n${layers}` : ''}`;
}

/** `<=512`, `larger`: the classes of a copy profile. */
const copyClass = (upTo: unknown): string => (typeof upTo === 'number' ? `<=${humanSize(upTo)}` : 'larger');

/** `toShared avx2x4-nt (larger)`: the routines in use that are not libc's memcpy. */
function copyText(copy: Plain): string {
  const byRoutine = list(copy.routines)
    .filter(({ routine }) => routine !== 'libc')
    .map(({ direction, upTo, routine }) => `${direction} ${copyClass(upTo)} ${routine}`);
  const unused = copy.profile === 'none' || copy.profile === 'used' ? '' : ` (the profile ${copy.path} is not used)`;
  return `${byRoutine.join(', ') || 'libc'}${unused}`;
}

/** One pool's statistics, with the pool's name in `pool`. */
export function statsText(stats: Plain): string {
  const clients = plain(stats.clients);
  const uncarried = Object.entries(plain(clients.uncarried)).map(([call, count]) => `${call} ${count}`);
  return (
    renderFields({
      pool: String(stats.pool),
      epoch: number(stats.epoch),
      uptime: typeof stats.uptimeSeconds === 'number' ? `${stats.uptimeSeconds.toFixed(1)} s` : null,
      cpu: typeof stats.cpuSeconds === 'number' ? `${stats.cpuSeconds.toFixed(2)} s` : null,
      resident: size(stats.residentBytes),
      clients: `${number(clients.attached) ?? 0} attached, ${number(clients.attachedTotal) ?? 0} in all${number(clients.cutOff) ? `, ${clients.cutOff} cut off` : ''}`,
      'reads without a request': number(clients.leasedReads) ?? 0,
      'names and attributes without a request': number(clients.leasedAnswers) ?? 0,
      'copies by': copyText(plain(stats.copy)),
      'left to the kernel door': uncarried.join(', ') || 'nothing',
    }) + list(stats.instances).map(instanceText).join('')
  );
}

/** Numbers of a queue that only grow (docs/contract.md §4). */
const QUEUE_COUNTERS = 'dequeued invalidated mended waits spins caught sleeps wakes rung spurious'.split(' ');

/** What the counters grew by, each second. A counter that was set to zero meanwhile (a new service, a reset) counts from there. */
export function queueRates(before: Plain, after: Plain, seconds: number): Plain {
  return Object.fromEntries(
    QUEUE_COUNTERS.flatMap((name) => {
      const from = number(before[name]);
      const to = number(after[name]);
      if (from === null || to === null || seconds <= 0) return [];
      return [[name, Math.round((to < from ? to : to - from) / seconds)]];
    }),
  );
}

export const queueView: View<Plain> = {
  text: (queue) => {
    const { workers, perSecond, ...counters } = queue;
    const rates = plain(perSecond);
    const fields = Object.fromEntries(
      Object.entries(counters).map(([name, value]) => [
        name,
        name in rates ? `${value} (${rates[name]}/s)` : String(value),
      ]),
    );
    const rows = list(workers);
    const columns = ['id', 'cpu', 'state', 'handled', 'waits', 'spins', 'caught', 'sleeps', 'rung', 'spurious'].map(
      (key): Column<Plain> => ({
        title: key.toUpperCase(),
        value: (row) => (typeof row[key] === 'number' ? (row[key] as number) : String(row[key] ?? '')),
      }),
    );
    return renderFields(fields) + (rows.length > 0 ? `\n${renderTable(rows, columns)}` : '');
  },
};

const COPY_STATES: Record<CopyProfile['state'], string> = {
  stored: 'stored; services use it from their next start on',
  'not-stored': 'not stored',
  used: 'fits this CPU',
  none: "there is none: glibc's memcpy throughout",
  'other-cpu': "not used: glibc's memcpy throughout",
  unreadable: "not used: glibc's memcpy throughout",
};
const gigabytes = (bytesPerSecond: number): string => (bytesPerSecond / 1e9).toFixed(2);
const COPY_COLUMNS: Column<CopyRow>[] = [
  { title: 'DIRECTION', value: (row) => row.direction },
  { title: 'BYTES', value: (row) => copyClass(row.upTo) },
  { title: 'ROUTINE', value: (row) => row.routine },
  { title: 'GB/S', value: (row) => gigabytes(row.bytesPerSecond) },
  { title: 'GLIBC', value: (row) => gigabytes(row.libcBytesPerSecond) },
  { title: 'RATIO', value: (row) => row.ratio.toFixed(2) },
];

export const copyView: View<CopyProfile> = {
  text: (profile, wide) =>
    renderFields({
      profile: profile.path,
      state: COPY_STATES[profile.state],
      reason: profile.reason,
      cpu: profile.cpu,
      measured: profile.measured,
      candidates: wide ? profile.candidates?.join(' ') : undefined,
    }) + (profile.rows.length > 0 ? `\n${renderTable(profile.rows, COPY_COLUMNS, wide)}` : ''),
  names: (profile) => [profile.path],
};

function layerText(node: Plain, depth: number, role: string): string {
  const pairs = (values: unknown) =>
    Object.entries(plain(values))
      .map(([name, value]) => `${name}=${value}`)
      .join(' ');
  const indent = '  '.repeat(depth);
  const own = `${indent}${role ? `${role}: ` : ''}${node.type} (${node.id}) ${pairs(node.options)}`.trimEnd();
  const counters = pairs(counted(node.statistics));
  const children = Object.entries(plain(node.children)).flatMap(([name, nodes]) =>
    list(nodes).map((child) => layerText(child, depth + 1, name)),
  );
  return `${own}\n${counters ? `${indent}  ${counters}\n` : ''}${children.join('')}`;
}

export const stackView: View<Plain> = {
  text: (stack) => `${stack.mountpoint} (${stack.instance})\n${layerText(plain(stack.root), 0, '')}`,
};
