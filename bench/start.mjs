/**
 * What beginning costs: `npm run bench -- start`. A process that attaches, a program under the library, the command line, a pool until its first I/O.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { say } from '../scripts/shared.mjs';
import { goal, median, nanoseconds, table } from './report.mjs';
import { mountStack } from './sides.mjs';
import { compile, library, sh } from './stage.mjs';

const TIMES = 200;
const PARENT_MIB = 256;

function milliseconds(run) {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

function commandLine(stage, times) {
  const figures = { bareNode: [], poolList: [], create: [], mount: [], firstWrite: [] };
  for (let i = 0; i < times; i++) {
    figures.bareNode.push(milliseconds(() => sh('node', ['-e', '0'])));
    figures.poolList.push(milliseconds(() => stage.diciclo('pool', 'list', '--json')));
  }
  const point = stage.at('first-mount');
  stage.later(() => stage.destroy('bench-first'));
  for (let i = 0; i < 3; i++) {
    figures.create.push(
      milliseconds(() => stage.diciclo('pool', 'create', 'bench-first', '--cores', '0.25', '--memory', '256Mi')),
    );
    figures.mount.push(
      milliseconds(() =>
        stage.mount('bench-first', point, `[cache: {size: 64Mi}, local: {path: ${stage.at('first-behind')}}]`),
      ),
    );
    figures.firstWrite.push(
      milliseconds(() => stage.run('bench-first', 'library', ['sh', '-c', `echo x > ${point}/x`])),
    );
    stage.destroy('bench-first');
  }
  return Object.fromEntries(Object.entries(figures).map(([name, list]) => [`${name}Ms`, median(list)]));
}

/** Programs that live for milliseconds, many of them: on ext4, and on the mount by either door. */
function git(stage, pool, onHost, onMount) {
  const bench = compile('spawn-bench');
  for (const repository of [onHost, onMount])
    stage.run(pool.bare, 'kernel', [
      'sh',
      '-ec',
      `git init -q ${repository}; cd ${repository}; git config user.email a@b; git config user.name x; git config gc.auto 0
       for i in $(seq 50); do echo $i > f$i; done; git add .; git commit -qm 0`,
    ]);
  const commit = (repository, ...library) =>
    JSON.parse(
      stage.run(pool.bare, 'kernel', [
        bench,
        '30',
        ...library,
        'sh',
        '-ec',
        `cd ${repository}; echo x >> f1; git add f1; git commit -qm x`,
      ]),
    );
  const ext4 = commit(onHost, '-', '-');
  const mount = commit(onMount, library, pool.directory);
  return { ext4Ns: ext4.bareNs, kernelDoorNs: mount.bareNs, libraryNs: mount.preloadedNs };
}

export async function measure({ stage, pool: get }) {
  say('bench: start: command line, pool');
  const commands = commandLine(stage, 7);
  const pool = get();
  say('bench: start: attach, programs');
  const mount = mountStack(stage, pool, 'through');
  const agent = await stage.agent(pool.bare, 'kernel', [compile('request-bench'), pool.directory]);
  const attach = await agent.ask(`attach ${TIMES}`);
  await agent.end();
  const onHost = path.join(stage.at('side-ext4'), 'start');
  writeFileSync(onHost, 'x');
  stage.run(pool.bare, 'library', ['cp', onHost, path.join(mount, 'start')]);
  const spawned = (...argv) =>
    JSON.parse(
      stage.run(pool.bare, 'kernel', [compile('spawn-bench'), String(TIMES), library, pool.directory, ...argv]),
    );
  const programs = {
    true: spawned('true'),
    'cat of a file on ext4': spawned('cat', onHost),
    'cat of a file on the mount': spawned('cat', path.join(mount, 'start')),
  };
  // The mount's file without the library goes through the kernel door: ext4's is the bare one.
  programs['cat of a file on the mount'].bareNs = programs['cat of a file on ext4'].bareNs;
  const vfork = { kernel: [], library: [] };
  for (let round = 0; round < 5; round++)
    for (const [door, list] of Object.entries(vfork))
      list.push(JSON.parse(stage.run(pool.bare, door, [compile('spawn-bench'), 'vfork', '40', PARENT_MIB])).ns);
  const commits = git(stage, pool, path.join(stage.at('side-ext4'), 'repository'), path.join(mount, 'repository'));
  return { attach, programs, vfork, commits, commands };
}

export function report({ attach, programs, vfork, commits, commands }) {
  const rows = [['', 'bare', 'under the library', 'difference']];
  for (const [name, { bareNs, preloadedNs }] of Object.entries(programs))
    rows.push([name, nanoseconds(bareNs), nanoseconds(preloadedNs), nanoseconds(preloadedNs - bareNs)]);
  const first = commands.createMs + commands.mountMs + commands.firstWriteMs;
  return [
    table("start: programs (the mount's file beside ext4's)", rows),
    `attach ${nanoseconds(attach.attachNs)} (90 % below ${nanoseconds(attach.attachP90Ns)}), with the first answer ${nanoseconds(attach.firstAnswerNs)}`,
    `a process of ${PARENT_MIB} MiB starts true by vfork: bare ${nanoseconds(median(vfork.kernel))}, under the library ${nanoseconds(median(vfork.library))}`,
    `git add and commit: ext4 ${nanoseconds(commits.ext4Ns)}, library ${nanoseconds(commits.libraryNs)} (${(commits.libraryNs / commits.ext4Ns).toFixed(2)}), kernel door ${nanoseconds(commits.kernelDoorNs)} (${(commits.kernelDoorNs / commits.ext4Ns).toFixed(2)})`,
    `bare node ${commands.bareNodeMs.toFixed(0)} ms, diciclo pool list ${commands.poolListMs.toFixed(0)} ms`,
    `pool create ${commands.createMs.toFixed(0)} ms, fs mount ${commands.mountMs.toFixed(0)} ms, run with the first write ${commands.firstWriteMs.toFixed(0)} ms: nothing to first I/O ${first.toFixed(0)} ms`,
    '',
  ].join('\n');
}

export function goals({ attach, programs }) {
  const { bareNs, preloadedNs } = programs.true;
  return [
    goal('attach of a process', attach.attachNs / 1e6, { most: 1, unit: 'ms' }),
    goal('preload cost of true', (preloadedNs - bareNs) / 1e6, { most: 2, unit: 'ms' }),
  ];
}
