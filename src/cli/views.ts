/** How the engine's answers are shown to people. */
import type {
  Accounting,
  Action,
  Finding,
  MountSummary,
  PoolSummary,
  Resources,
  ServerSummary,
} from '../engine/types.js';
import { humanSize } from '../spec/quantities.js';
import { listView, renderFields, renderTable, type View } from './output.js';

/** `2 cores, 1Gi`. */
export function resourcesText(resources: Resources): string {
  const parts: string[] = [];
  if (resources.cores !== undefined) parts.push(`${resources.cores} ${resources.cores === 1 ? 'core' : 'cores'}`);
  if (resources.memory !== undefined) parts.push(humanSize(resources.memory));
  if (resources.storage !== undefined) parts.push(`${humanSize(resources.storage)} storage`);
  for (const [key, value] of Object.entries(resources.io ?? {})) {
    parts.push(`${key} ${key.endsWith('bps') ? humanSize(value) : value}`);
  }
  return parts.join(', ') || 'none';
}

function serviceText(pool: PoolSummary): string | null {
  const { service } = pool;
  return service ? `${service.state}, pid ${service.pid}, ${service.restarts} restarts` : null;
}

export const poolsView: View<readonly PoolSummary[]> = listView(
  [
    { title: 'POOL', value: (pool) => pool.name },
    { title: 'PHASE', value: (pool) => pool.phase },
    { title: 'CORES', value: (pool) => pool.reserve.cores },
    { title: 'MEMORY', value: (pool) => (pool.reserve.memory === undefined ? null : humanSize(pool.reserve.memory)) },
    { title: 'MOUNTS', value: (pool) => pool.mounts.length },
    { title: 'SERVERS', value: (pool) => pool.servers.length },
    { title: 'SERVICE', value: (pool) => pool.service?.pid, wide: true },
    { title: 'RESTARTS', value: (pool) => pool.service?.restarts, wide: true },
    { title: 'LIMIT', value: (pool) => resourcesText(pool.limit), wide: true },
    { title: 'TRUST', value: (pool) => pool.trust, wide: true },
    { title: 'DIRECTORY', value: (pool) => pool.directory, wide: true },
  ],
  (pool) => pool.name,
  'There are no pools.',
);

export const mountsView: View<readonly MountSummary[]> = listView(
  [
    { title: 'POOL', value: (mount) => mount.pool },
    { title: 'MOUNT POINT', value: (mount) => mount.mountpoint },
    { title: 'FILESYSTEM', value: (mount) => mount.instance },
    { title: 'STACK', value: (mount) => mount.stack },
    { title: 'HOST', value: (mount) => (mount.host ? 'yes' : 'no') },
    { title: 'DEVICE', value: (mount) => mount.device, wide: true },
  ],
  (mount) => `${mount.pool}:${mount.mountpoint}`,
  'There are no mounts.',
);

export const serversView: View<readonly ServerSummary[]> = listView(
  [
    { title: 'POOL', value: (server) => server.pool },
    { title: 'SERVER', value: (server) => server.name },
    { title: 'STATE', value: (server) => server.state },
    { title: 'HEALTH', value: (server) => server.health },
    { title: 'PID', value: (server) => server.pid },
    { title: 'RESTARTS', value: (server) => server.restarts },
    { title: 'COMMAND', value: (server) => server.command.join(' '), wide: true },
  ],
  (server) => `${server.pool}:${server.name}`,
  'There are no servers.',
);

export const poolView: View<PoolSummary> = {
  text: (pool, wide) =>
    renderFields({
      pool: pool.name,
      phase: pool.phase,
      reserve: resourcesText(pool.reserve),
      limit: resourcesText(pool.limit),
      weight: pool.weight,
      trust: pool.trust,
      service: serviceText(pool),
      init: pool.init ? `pid ${pool.init.pid}` : null,
      directory: pool.directory,
      ...(wide ? Object.fromEntries(Object.entries(pool.cgroups).map(([name, path]) => [`cgroup ${name}`, path])) : {}),
    }) +
    (pool.mounts.length > 0 ? `\n${mountsView.text(pool.mounts, wide)}` : '') +
    (pool.servers.length > 0 ? `\n${serversView.text(pool.servers, wide)}` : ''),
  names: (pool) => [pool.name],
};

const SIGNS: Record<Action['verb'], string> = { create: '+', update: '~', delete: '-', restart: '!' };

/** `+ create pool demo/db (why)`, one line each. */
export function actionsText(actions: readonly Action[]): string {
  return actions
    .map(({ verb, object, name, reasons }) => {
      const why = reasons.length > 0 ? ` (${reasons.join('; ')})` : '';
      return `${SIGNS[verb]} ${verb} ${object} ${name}${why}\n`;
    })
    .join('');
}

/** A plan or what was done, as commands print it. */
export interface ActionsAnswer {
  tenant: string;
  changed: boolean;
  actions: Action[];
}

export const actionsNames = (answer: ActionsAnswer): string[] => answer.actions.map(({ name }) => name);

export const findingsView: View<{ ok: boolean; findings: Finding[] }> = {
  text: ({ findings }) => {
    const fixes = findings.filter((finding) => finding.status !== 'ok' && finding.fix);
    const table = renderTable(findings, [
      { title: 'STATUS', value: (finding) => finding.status },
      { title: 'WHAT', value: (finding) => finding.title },
      { title: 'DETAIL', value: (finding) => finding.detail },
    ]);
    return (
      table + (fixes.length > 0 ? `\nTo mend:\n${fixes.map(({ title, fix }) => `  ${title}: ${fix}\n`).join('')}` : '')
    );
  },
  names: ({ findings }) => findings.filter(({ status }) => status !== 'ok').map(({ id }) => id),
};

export const accountingView: View<Accounting> = {
  text: ({ pool, since, cpu, memory, io, processes, service }) =>
    renderFields({
      pool,
      since,
      cpu: `${cpu.seconds.toFixed(2)} s (user ${cpu.user.toFixed(2)}, system ${cpu.system.toFixed(2)}, throttled ${cpu.throttledSeconds.toFixed(2)})`,
      memory: `${humanSize(memory.bytes)} (peak ${humanSize(memory.peakBytes)}, limit ${memory.limitBytes === null ? 'none' : humanSize(memory.limitBytes)})`,
      'memory kinds': `anonymous ${humanSize(memory.anonBytes)}, files ${humanSize(memory.fileBytes)}, shared ${humanSize(memory.shmemBytes)}`,
      io: `${humanSize(io.readBytes)} read in ${io.readOperations}, ${humanSize(io.writeBytes)} written in ${io.writeOperations} operations`,
      processes: processes.current,
      service: service ? `${service.cpuSeconds.toFixed(2)} s, ${humanSize(service.residentBytes)} resident` : null,
    }),
  names: ({ pool }) => [pool],
};
