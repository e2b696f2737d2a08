/**
 * What is compared: ext4 below everything, the two doors, the kernel's overlayfs, and FUSE daemons in each of their modes. All sides run in one pool, daemons included, so that the same cores and
 * memory serve them, and each has a directory of the same ext4 behind it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { checkout, say } from '../scripts/shared.mjs';
import { compile, sh } from './stage.mjs';

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples';
const fuseFlags = () => sh('pkg-config', ['--cflags', '--libs', 'fuse3']).trim().split(/\s+/);

const buildLowLevel = () =>
  compile('passthrough_ll', {
    sources: [path.join(EXAMPLES, 'passthrough_ll.c')],
    flags: ['-w', '-D_GNU_SOURCE', ...fuseFlags()],
  });

/**
 * passthrough_hp is in libfuse's source but not among the examples of Debian's libfuse3-dev, so the source package is fetched, from where the machine gets its packages (the same lists with deb-src
 * for deb), and kept in build/bench. Null when that cannot be done.
 */
function buildHighPerformance() {
  const place = path.join(checkout, 'build/bench/fuse3');
  const found = () =>
    existsSync(place)
      ? readdirSync(place).find((name) => existsSync(path.join(place, name, 'example/passthrough_hp.cc')))
      : null;
  if (!found() && !fetchSource(place)) return null;
  const source = path.join(place, found(), 'example/passthrough_hp.cc');
  return compile('passthrough_hp', { sources: [source], flags: ['-w', '-std=c++17', ...fuseFlags()], compiler: 'g++' });
}

function fetchSource(place) {
  say('bench: fetching the source of libfuse (passthrough_hp)');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(path.join(place, 'lists/partial'), { recursive: true });
  const list = path.join(place, 'from.sources');
  const directory = '/etc/apt/sources.list.d';
  const deb822 = readdirSync(directory)
    .filter((name) => name.endsWith('.sources'))
    .map((name) => readFileSync(path.join(directory, name), 'utf8'));
  writeFileSync(list, deb822.join('\n\n').replace(/^Types:.*$/gm, 'Types: deb-src'));
  const old = existsSync('/etc/apt/sources.list') ? readFileSync('/etc/apt/sources.list', 'utf8') : '';
  writeFileSync(path.join(place, 'from.list'), old.replace(/^deb /gm, 'deb-src '));
  for (const from of ['from.sources', 'from.list']) {
    const options = [
      '-q',
      '-o',
      `Dir::Etc::sourcelist=${path.join(place, from)}`,
      '-o',
      'Dir::Etc::sourceparts=-',
      '-o',
      `Dir::State::lists=${place}/lists`,
    ];
    spawnSync('apt-get', [...options, 'update'], { stdio: 'ignore' });
    spawnSync('apt-get', [...options, 'source', '--download-only', 'fuse3'], { cwd: place, stdio: 'ignore' });
    const archive = readdirSync(place).find((name) => /^fuse3_.*\.orig\.tar\.\w+$/.test(name));
    if (
      archive &&
      spawnSync('tar', ['xf', archive, '--wildcards', '*/example/passthrough_hp.cc', '*/example/*.hpp'], { cwd: place })
        .status === 0
    )
      break;
  }
  rmSync(path.join(place, 'lists'), { recursive: true, force: true });
  return (
    existsSync(place) &&
    readdirSync(place).some((name) => existsSync(path.join(place, name, 'example/passthrough_hp.cc')))
  );
}

/** Names are what the report says. `asks`: the kernel must ask the daemon for everything. */
export const SIDES = [
  { name: 'ext4', kind: 'host' },
  { name: 'tmpfs, the floor', kind: 'tmpfs' },
  { name: 'library, write-through', kind: 'mount', door: 'library', mount: 'through' },
  { name: 'library, write-back', kind: 'mount', door: 'library', mount: 'back' },
  { name: 'kernel door, kernel caches', kind: 'mount', door: 'kernel', mount: 'through' },
  { name: 'kernel door, no kernel cache', kind: 'mount', door: 'kernel', mount: 'plain' },
  { name: 'passthrough_ll, no kernel cache', kind: 'll', options: 'cache=never', asks: true },
  { name: 'passthrough_ll, kernel caches', kind: 'll', options: 'cache=always' },
  { name: 'passthrough_ll, writeback cache', kind: 'll', options: 'cache=always,writeback' },
  { name: 'passthrough_hp, no kernel cache', kind: 'hp', options: ['--nocache'], asks: true },
  { name: 'passthrough_hp, writeback cache', kind: 'hp', options: [] },
  { name: 'overlayfs (kernel)', kind: 'overlay' },
  { name: 'fuse-overlayfs', kind: 'fuse-overlayfs' },
];

const STACKS = {
  // Room for all that a database writes, as ext4 and FUSE's kernel caches have it in the pool's memory.
  through: ['{size: 512Mi}'],
  back: ['{size: 512Mi, mode: write-back}'],
  plain: ['{size: 512Mi}', '--kernel-cache', 'none'],
  // For databases of at least four times the cache; on the directory of `through`.
  small: ['{size: 24Mi}'],
};

/** Mounts `name` once; answers the mount point. */
export function mountStack(stage, pool, name, behind = `behind-${name}`) {
  stage.mounted ??= {};
  if (!stage.mounted[name]) {
    const [cache, ...options] = STACKS[name];
    stage.mounted[name] = stage.mount(
      pool.bare,
      stage.at(`mount-${name}`),
      `[cache: ${cache}, local: {path: ${stage.at(behind)}}]`,
      ...options,
    );
  }
  return stage.mounted[name];
}

const prepare = {
  host: async (stage, _pool, side) => ({ directory: stage.at(`side-${side.key}`), server: 0 }),
  mount: async (stage, pool, side) => {
    // Both doors show one mount: a directory for each, so that neither has to tell the other anything.
    const directory = path.join(mountStack(stage, pool, side.mount), side.key);
    stage.run(pool.bare, side.door, ['mkdir', directory]);
    return { directory, server: pool.servicePid };
  },
  ll: async (stage, pool, side) => {
    const directory = stage.at(`side-${side.key}`);
    const argv = [buildLowLevel(), '-f', '-o', `source=${stage.at(`behind-${side.key}`)},${side.options}`, directory];
    return { directory, server: await stage.daemon(pool.bare, argv, directory) };
  },
  hp: async (stage, pool, side) => {
    const program = buildHighPerformance();
    if (!program) return { missing: 'the source of libfuse could not be fetched' };
    const directory = stage.at(`side-${side.key}`);
    const argv = [program, '--foreground', ...side.options, stage.at(`behind-${side.key}`), directory];
    return { directory, server: await stage.daemon(pool.bare, argv, directory) };
  },
  tmpfs: async (stage, pool, side) => {
    const directory = stage.at(`side-${side.key}`);
    stage.run(pool.bare, 'kernel', ['mount', '-t', 'tmpfs', 'tmpfs', directory]);
    stage.later(() => stage.run(pool.bare, 'kernel', ['umount', directory]));
    return { directory, server: 0 };
  },
  overlay: async (stage, pool, side) => {
    const directory = stage.at(`side-${side.key}`);
    const layers = `lowerdir=${stage.at('overlay/lower')},upperdir=${stage.at('overlay/upper')},workdir=${stage.at('overlay/work')}`;
    stage.run(pool.bare, 'kernel', ['mount', '-t', 'overlay', 'overlay', '-o', layers, directory]);
    stage.later(() => stage.run(pool.bare, 'kernel', ['umount', directory]));
    return { directory, server: 0 };
  },
  'fuse-overlayfs': async (stage, pool, side) => {
    const directory = stage.at(`side-${side.key}`);
    const layers = `lowerdir=${stage.at('foverlay/lower')},upperdir=${stage.at('foverlay/upper')},workdir=${stage.at('foverlay/work')}`;
    return {
      directory,
      server: await stage.daemon(pool.bare, ['fuse-overlayfs', '-f', '-o', layers, directory], directory),
    };
  },
};

/** Rivals' files are in a directory of their own: below each mount point as many names have to be looked up as below ours. */
async function stand(stage, pool, side) {
  const ready = await prepare[side.kind](stage, pool, side);
  if (ready.missing || side.kind === 'host' || side.kind === 'mount') return ready;
  const directory = path.join(ready.directory, 'side');
  stage.run(pool.bare, 'kernel', ['mkdir', directory]);
  return { ...ready, directory };
}

/** Sides that stand ready: {name, door, directory, server (pid in the pool)}. What cannot be had is named and left out. */
export async function standSides(stage, pool, wanted = () => true) {
  const ready = [];
  stage.missing ??= {};
  for (const side of SIDES.filter(wanted)) {
    stage.ready ??= {};
    const one = { ...side, door: side.door ?? 'kernel', key: side.name.replace(/\W+/g, '-') };
    try {
      stage.ready[one.key] ??= await stand(stage, pool, one);
    } catch (error) {
      // Ours have to work; of a rival it is told.
      if (side.kind === 'host' || side.kind === 'mount') throw error;
      stage.ready[one.key] = { missing: error.message.split('\n')[0] };
    }
    const { missing } = stage.ready[one.key];
    if (missing) stage.missing[side.name] = missing;
    else ready.push({ ...one, ...stage.ready[one.key] });
  }
  return ready;
}

/** The rivals' versions, and what of them this machine cannot do. */
export function versions() {
  const version = (name) =>
    spawnSync('dpkg-query', ['-W', '-f', '$'.concat('{Version}'), name], { encoding: 'utf8' }).stdout || 'none';
  return {
    libfuse: version('libfuse3-3'),
    fuseOverlayfs: version('fuse-overlayfs'),
    dbBench: version('rocksdb-tools'),
  };
}

export const NOTES = [
  'FUSE passthrough (kernel 6.9 and newer) is not among the modes: libfuse before 3.17 does not offer it, and neither example of this version asks for it.',
  'passthrough_hp without --nocache always uses the writeback cache; it has no mode with kernel caches and without that.',
  'tmpfs keeps nothing on a disk and has next to no file system: what db_bench takes there is its own work.',
  'Every side runs in one pool, on all cores of the machine; CPU is of client and server together, kernel time included.',
];
