#!/usr/bin/env node
/**
 * Brings a Debian machine to where the project builds and runs: packages, node_modules, native programs, TypeScript. What is there already is left alone,
 * so a second run takes a second or two. Usage: node scripts/setup.mjs [build|demo|test|bench ...] [--no-build]   (default: demo)
 * Exit status: 0 ready, 1 something failed to build, 2 usage, 6 a package or version is missing and cannot be had, 7 not permitted.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { needs, packages } from './packages.mjs';
import { ask, checkout, Exit, Failure, fail, run, say, seconds } from './shared.mjs';

const NODE_MIN = [20, 19];
// dpkg-query's own placeholders.
const FORMAT = ['Package', 'db:Status-Abbrev']
  .map((field) => `\${${field}}`)
  .join(' ')
  .concat('\\n');
const POLICY = '/usr/sbin/policy-rc.d';

/** Everything below, in order. `groups` of packages.mjs. Throws Failure. */
export async function setup(groups = ['demo'], { build = true } = {}) {
  const started = Date.now();
  checkNode();
  preferPackages();
  await ensurePackages(groups);
  await ensureNodeModules();
  if (build) {
    await buildNative();
    await buildTypeScript();
  }
  say(`setup: ready (${seconds(started)})`);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  throw new Failure(
    `Node ${process.versions.node} is too old, ${NODE_MIN.join('.')} or newer is needed`,
    'install a newer Node',
    Exit.prerequisite,
  );
}

/**
 * What packages.mjs names is what is used, whatever else of these names comes earlier in PATH: a version manager's python3 is a shell script that looks for the real one at each start,
 * which takes longer than many a test.
 */
function preferPackages() {
  const first = [path.dirname(process.execPath), '/usr/bin', '/bin'];
  process.env.PATH = [...first, process.env.PATH ?? ''].join(path.delimiter);
}

function allPackages(groups) {
  const names = new Set();
  const add = (group) => {
    for (const below of needs[group]) add(below);
    for (const name of packages[group]) names.add(name);
  };
  for (const group of groups) add(group);
  return [...names];
}

/** Installs what dpkg does not know as installed. */
export async function ensurePackages(groups) {
  const wanted = allPackages(groups);
  const missing = missingPackages(wanted);
  if (missing.length === 0) {
    say(`setup: ${wanted.length} Debian packages are there`);
    return;
  }
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid() !== 0)
    throw new Failure(
      `not root, and these packages are missing: ${missing.join(' ')}`,
      `as root: ${command}`,
      Exit.permission,
    );
  checkDpkg();
  say(`setup: installing ${missing.length} of ${wanted.length} Debian packages: ${missing.join(' ')}`);
  const release = holdServices();
  try {
    await install(missing, command);
  } finally {
    release();
  }
}

function missingPackages(wanted) {
  const { status, output } = ask(['dpkg-query', '-W', '-f', FORMAT, ...wanted]);
  if (status === 127) {
    throw new Failure(
      'this is not a Debian machine (no dpkg-query)',
      `provide what these Debian 12 packages hold: ${wanted.join(' ')}`,
      Exit.prerequisite,
    );
  }
  const installed = new Set(
    output
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, state]) => state?.startsWith('ii') || state?.startsWith('hi'))
      .map(([name]) => name),
  );
  return wanted.filter((name) => !installed.has(name));
}

function checkDpkg() {
  const { status, output } = ask(['dpkg', '--audit']);
  if (status === 0 && output.trim() === '') return;
  throw new Failure(
    'dpkg has packages that are only half installed',
    'dpkg --configure -a && apt-get -f install',
    Exit.prerequisite,
  );
}

async function install(missing, command) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = ['-o', 'DPkg::Lock::Timeout=120', '-o', 'Dpkg::Use-Pty=0'];
  const argv = ['apt-get', ...options, 'install', '-y', '--no-install-recommends', ...missing];
  // A dry run tells whether the package lists are good enough; without lists, or with stale ones, they are fetched.
  const known = ask(['apt-get', 'install', '-s', '--no-install-recommends', ...missing], { env }).status === 0;
  if (known && (await run(argv, { env })) === 0) return verify(missing, command);
  say('setup: refreshing the package lists');
  if ((await run(['apt-get', ...options, 'update'], { env })) !== 0) {
    throw new Failure(
      'the package lists could not be fetched (apt-get update failed, see above)',
      'check the network and /etc/apt/sources.list',
      Exit.prerequisite,
    );
  }
  if ((await run(argv, { env })) !== 0) {
    throw new Failure(
      `apt-get could not install ${missingPackages(missing).join(' ')} (see above)`,
      `apt-get -f install, then: ${command}`,
      Exit.prerequisite,
    );
  }
  verify(missing, command);
}

function verify(missing, command) {
  const still = missingPackages(missing);
  if (still.length > 0)
    throw new Failure(
      `apt-get said it was done, but these are not installed: ${still.join(' ')}`,
      command,
      Exit.prerequisite,
    );
}

/** While this holds, packages that bring a daemon do not start it: the tenants run their own. Returns the undo. */
function holdServices() {
  if (existsSync(POLICY)) return () => {};
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const release = () => rmSync(POLICY, { force: true });
  const interrupted = () => {
    release();
    process.exit(130);
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  return () => {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    release();
  };
}

/** `npm ci` when node_modules is missing or made from another package-lock.json. */
export async function ensureNodeModules() {
  const lock = path.join(checkout, 'package-lock.json');
  const modules = path.join(checkout, 'node_modules');
  const stamp = path.join(modules, '.diciclo-lock');
  const hash = createHash('sha256').update(readFileSync(lock)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  const own = path.join(modules, '.package-lock.json');
  // Somebody ran npm after the lock file was last written: theirs is as good.
  const fresh = !existsSync(stamp) && existsSync(own) && statSync(own).mtimeMs >= statSync(lock).mtimeMs;
  if (!fresh) {
    say('setup: installing npm packages (npm ci)');
    const status = await run(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error']);
    if (status !== 0)
      throw new Failure(
        'npm ci failed (see above)',
        'check the network, then: npm ci',
        status === 127 ? Exit.prerequisite : Exit.failed,
      );
  }
  writeFileSync(stamp, hash);
}

/** Configures `directory` once and builds what changed of `targets` (none: of all). `idle`: only by what processor time nobody else wants. */
export async function buildNative(
  directory = 'build',
  options = ['--buildtype=release'],
  env = process.env,
  targets = [],
  { idle = false } = {},
) {
  const started = Date.now();
  const prefix = idle ? ['chrt', '--idle', '0'] : [];
  const configured = existsSync(path.join(checkout, directory, 'build.ninja'));
  const stamp = path.join(checkout, directory, '.options');
  // One that somebody configured by hand is taken as it is.
  const same = !existsSync(stamp) || readFileSync(stamp, 'utf8') === options.join(' ');
  if (!configured || !same) {
    say(`setup: configuring ${directory}`);
    const argv = [...prefix, 'meson', 'setup', ...(configured ? ['--wipe'] : []), directory, 'native', ...options];
    if ((await run(argv, { env })) !== 0) {
      const again = `rm -r ${directory}, then: meson setup ${directory} native ${options.join(' ')}`;
      throw new Failure(`meson could not configure ${directory} (see above)`, again);
    }
    writeFileSync(stamp, options.join(' '));
  }
  if ((await run([...prefix, 'ninja', '-C', directory, '--quiet', ...targets], { env })) !== 0)
    throw new Failure(`the native part does not build in ${directory} (see above)`, `ninja -C ${directory}`);
  say(`setup: native programs are built in ${directory} (${seconds(started)})`);
}

/** `npm run build` when a source is newer than what was built. */
export async function buildTypeScript() {
  const started = Date.now();
  const stamp = path.join(checkout, 'dist/.sources');
  const state = sourcesState();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === state) return;
  say('setup: building TypeScript');
  if ((await run(['npm', 'run', '--silent', 'build'])) !== 0)
    throw new Failure('the TypeScript part does not build (see above)', 'npm run build');
  writeFileSync(stamp, sourcesState());
  say(`setup: TypeScript is built (${seconds(started)})`);
}

/** Changes when any source of the TypeScript part does. */
function sourcesState() {
  const hash = createHash('sha256');
  const files = ['package.json', 'tsconfig.json', 'tsconfig.build.json'].map((name) => path.join(checkout, name));
  for (const entry of readdirSync(path.join(checkout, 'src'), { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isFile() && !file.includes('/generated/')) files.push(file);
  }
  for (const file of files.sort()) {
    if (!existsSync(file)) continue;
    const { mtimeMs, size } = statSync(file);
    hash.update(`${path.relative(checkout, file)} ${mtimeMs} ${size}\n`);
  }
  return hash.digest('hex');
}

async function main(argv) {
  const groups = argv.filter((word) => !word.startsWith('-'));
  const unknown = argv.filter((word) => (word.startsWith('-') ? word !== '--no-build' : !(word in packages)));
  if (unknown.length > 0)
    throw new Failure(
      `unknown argument ${unknown.join(' ')}`,
      `node scripts/setup.mjs [${Object.keys(packages).join('|')} ...] [--no-build]`,
      Exit.usage,
    );
  await setup(groups.length > 0 ? groups : ['demo'], { build: !argv.includes('--no-build') });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main(process.argv.slice(2)).catch(fail);
