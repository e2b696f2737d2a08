/**
 * `npm run demo`: a tenant from nothing to RocksDB on a user-level filesystem, through both doors and beside the host's own filesystem, checked and measured, and everything removed.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { createEngine } from '../engine/index.js';
import { DicicloError, type Engine, ExitStatus, type TenantSpec } from '../engine/types.js';
import { loadTenant } from '../spec/index.js';
import { fullSizes, type Sizes } from './benchmark.js';
import { type DemoReport, reportText } from './report.js';
import { carriedShare, inPool, type Round, runRound } from './rounds.js';
import { verifyAcross } from './verify.js';

const template = fileURLToPath(new URL('../../templates/demo.yaml', import.meta.url));
/** The least share of file operations that the library must carry. */
const CARRIED_MIN = 0.99;
const REDIS_KEYS = 1000;

interface Place {
  backing: string;
  host: string;
  /** directories that did not exist before, outermost first */
  made: string[];
}

/** The directories that the template names; refused when something of somebody else's is in them. */
function makePlace(backing: string): Place {
  const place: Place = { backing, host: `${backing}-host`, made: [] };
  for (const directory of [place.backing, place.host]) {
    if (existsSync(directory) && readdirSync(directory).length > 0)
      throw new DicicloError(
        'DEMO_IN_THE_WAY',
        `${directory} is not empty; the demo works there and removes what it made.`,
        {
          exit: ExitStatus.conflict,
          hints: [`look into ${directory} and remove it`],
        },
      );
    for (let above = directory; !existsSync(above); above = path.dirname(above)) place.made.push(above);
    mkdirSync(directory, { recursive: true });
  }
  return place;
}

function removePlace(place: Place): void {
  for (const directory of [place.backing, place.host])
    for (const name of existsSync(directory) ? readdirSync(directory) : [])
      rmSync(path.join(directory, name), { recursive: true, force: true });
  for (const directory of [...new Set(place.made)].sort((a, b) => b.length - a.length))
    try {
      rmdirSync(directory);
    } catch {
      // Somebody has put something there meanwhile: it is theirs.
    }
}

/** Keys set before and counted after a restart of the server, which reads its append-only file. */
async function exerciseServer(
  engine: Engine,
  spec: TenantSpec,
  pool: string,
): Promise<{ keysWritten: number; keysAfterRestart: number }> {
  const server = spec.spec.pools[0]?.servers[0];
  const health = server?.health?.command ?? [];
  const socket = health[health.indexOf('-s') + 1];
  if (!server || !socket) return { keysWritten: 0, keysAfterRestart: 0 };
  const cli = ['redis-cli', '-s', socket];
  await inPool(
    engine,
    pool,
    [...cli, 'eval', `for i=1,${REDIS_KEYS} do redis.call('set','key'..i,i) end`, '0'],
    'library',
  );
  await engine.restartServer(pool, server.name, { timeout: 30_000 });
  const size = await inPool(engine, pool, [...cli, 'dbsize'], 'library');
  const keys = Number(/\d+/.exec(size)?.[0] ?? 0);
  if (keys !== REDIS_KEYS)
    throw new DicicloError('DEMO_KEYS_LOST', `redis-server had ${keys} of ${REDIS_KEYS} keys after its restart.`);
  return { keysWritten: REDIS_KEYS, keysAfterRestart: keys };
}

async function measure(
  engine: Engine,
  spec: TenantSpec,
  place: Place,
  sizes: Sizes,
  say: (text: string) => void,
): Promise<DemoReport> {
  const started = Date.now();
  const poolSpec = spec.spec.pools[0];
  const filesystem = poolSpec?.filesystems[0];
  if (!poolSpec || !filesystem?.mount)
    throw new DicicloError('DEMO_TEMPLATE', `${template} has no pool with a mounted filesystem.`);
  const pool = `${spec.metadata.name}/${poolSpec.name}`;
  say(`apply ${path.basename(template)}`);
  await engine.apply(spec, { events: (event) => event.type === 'done' && say(event.title), timeout: 60_000 });
  const rounds: Round[] = [];
  for (const [way, directory] of [
    ['library', `${filesystem.mount}/library`],
    ['kernel door', `${filesystem.mount}/kernel`],
    ['host ext4', place.host],
  ] as const)
    rounds.push(await runRound(engine, pool, way, filesystem.mount, directory, sizes, say));
  const carried = carriedShare(rounds[0]?.operations ?? {});
  if (carried < CARRIED_MIN)
    throw new DicicloError(
      'DEMO_NOT_CARRIED',
      `The library carried ${(carried * 100).toFixed(2)}% of the file operations in its round; at least ${CARRIED_MIN * 100}% were expected.`,
      {
        details: { operations: rounds[0]?.operations },
      },
    );
  say('read back through the other door and in the backing directory');
  const databases = (['library', 'kernel'] as const).map((name) => ({
    writtenThrough: name,
    directory: `${filesystem.mount}/${name}`,
    backing: path.join(place.backing, name),
  }));
  const verification = await verifyAcross(engine, pool, databases, sizes);
  const serverKept = await exerciseServer(engine, spec, pool);
  return {
    database: { bytes: verification[0]?.bytes ?? 0, cacheBytes: Number(filesystem.stack.options.size ?? 0) },
    rounds,
    carried,
    verification,
    servers: await engine.listServers(pool),
    serverKept,
    accounting: await engine.accounting(pool),
    seconds: (Date.now() - started) / 1000,
  };
}

/** Runs the demo; resolves with the exit status. `scale` shrinks it (tests). */
export async function demo(options: { json: boolean; scale: number }): Promise<number> {
  const engine = createEngine();
  const spec = await loadTenant(template);
  const say = (text: string) => process.stderr.write(`demo: ${text}\n`);
  const sizes: Sizes = {
    ...fullSizes,
    keys: Math.round(fullSizes.keys * options.scale),
    reads: Math.round(fullSizes.reads * options.scale),
    syncs: Math.max(10, Math.round(fullSizes.syncs * options.scale)),
  };
  await execa('db_bench', ['--version'], { reject: false }).then((result) => {
    if (result.failed && (result as { code?: string }).code === 'ENOENT')
      throw new DicicloError('PREREQUISITE_MISSING', 'db_bench is not installed.', {
        exit: ExitStatus.prerequisite,
        hints: ['apt-get install rocksdb-tools'],
      });
  });
  const backing = String(
    (spec.spec.pools[0]?.filesystems[0]?.stack.children.below?.[0]?.options.path as string | undefined) ?? '',
  );
  if ((await engine.listTenants()).some((tenant) => tenant.name === spec.metadata.name)) {
    say(`tenant ${spec.metadata.name} is left from an earlier run: removing it`);
    await engine.deleteTenant(spec.metadata.name);
    for (const left of [backing, `${backing}-host`]) rmSync(left, { recursive: true, force: true });
  }
  const place = makePlace(backing);
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () =>
        reject(new DicicloError('INTERRUPTED', 'Interrupted.', { exit: ExitStatus.interrupted })),
      );
  });
  try {
    const report = await Promise.race([measure(engine, spec, place, sizes, say), interrupted]);
    await engine.deleteTenant(spec.metadata.name);
    removePlace(place);
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 1)}\n` : `\n${reportText(report)}`);
    return ExitStatus.ok;
  } catch (error) {
    await engine.deleteTenant(spec.metadata.name).catch(() => {});
    removePlace(place);
    throw error;
  }
}
