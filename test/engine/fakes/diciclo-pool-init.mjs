#!/usr/bin/env node
// A stand-in for diciclo-pool-init that speaks docs/contract.md §3 and §4 without namespaces, shared memory or FUSE: for tests of the engine alone.
// FAKE_INIT_FAIL=sentence: refuse to start. FAKE_INIT_HANG=1: never become ready. FAKE_MOUNT_FAIL=sentence: refuse every mount.
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const options = parse(process.argv.slice(2));
const startTimeOf = (pid) => {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[19]);
};

function parse(argv) {
  const found = { cgroup: [] };
  for (let at = 0; at < argv.length; at += 2) {
    const key = argv[at].slice(2);
    if (key === 'cgroup') found.cgroup.push(argv[at + 1]);
    else found[key] = argv[at + 1];
  }
  return found;
}

if (process.env.FAKE_INIT_ROLE !== 'child') parent();
else child();

function parent() {
  for (const file of options.cgroup) writeFileSync(file, String(process.pid));
  if (process.env.FAKE_INIT_FAIL) {
    process.stderr.write(`${process.env.FAKE_INIT_FAIL}\n`);
    process.exit(1);
  }
  const log = openSync(path.join(options.dir, 'log/init.log'), 'a');
  const init = spawn(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    env: { ...process.env, FAKE_INIT_ROLE: 'child' },
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
  });
  init.on('message', () => process.exit(0));
  init.on('exit', () => process.exit(1));
}

function child() {
  const state = { mounts: [], servers: new Map(), service: null, restarts: 0, epoch: 1, stopping: false };
  if (process.env.FAKE_INIT_HANG) {
    setInterval(() => {}, 1000);
    return;
  }
  const startService = () => {
    state.service = spawn('sleep', ['100000'], { stdio: 'ignore' });
    state.service.on('exit', () => {
      if (state.stopping) return;
      state.restarts++;
      state.epoch++;
      startService();
      writeInit(state);
    });
  };
  startService();
  writeInit(state);
  for (const name of ['control.sock', 'service.sock', 'attach.sock', 'mounts'])
    rmSync(path.join(options.dir, name), { force: true });
  writeFileSync(path.join(options.dir, 'mounts'), '');
  listen('control.sock', (request) => control(state, request));
  listen(
    'service.sock',
    (request) => service(state, request),
    () => {
      process.send?.('ready');
      process.disconnect?.();
    },
  );
}

function writeInit(state) {
  const file = path.join(options.dir, 'init.json');
  const value = {
    pid: process.pid,
    startTime: startTimeOf(process.pid),
    name: options.name,
    service: { pid: state.service.pid, epoch: state.epoch, restarts: state.restarts },
  };
  writeFileSync(`${file}.new`, JSON.stringify(value));
  renameSync(`${file}.new`, file);
}

function listen(name, answer, ready = () => {}) {
  const server = net.createServer((connection) => {
    let text = '';
    connection.on('error', () => {});
    connection.on('data', async (chunk) => {
      text += chunk;
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const reply = await Promise.resolve()
          .then(() => answer(JSON.parse(line)))
          .catch((error) => ({ error: { code: error.code ?? 'EINVAL', message: error.message } }));
        connection.write(`${JSON.stringify(reply.error ? { ok: false, ...reply } : { ok: true, ...reply })}\n`);
        reply.after?.();
      }
    });
  });
  server.listen(path.join(options.dir, name), ready);
}

const refuse = (code, message) => ({ error: { code, message } });

function control(state, request) {
  appendFileSync(path.join(options.dir, 'log/requests.log'), `${JSON.stringify(request)}\n`);
  const server = state.servers.get(request.name);
  switch (request.op) {
    case 'status':
      return {
        init: { pid: process.pid },
        service: { pid: state.service.pid, epoch: state.epoch, restarts: state.restarts, state: 'running' },
        mounts: state.mounts,
        servers: [...state.servers.values()].map(({ name, pid, state: phase, restarts, exit }) => ({
          name,
          pid,
          state: phase,
          restarts,
          exit,
        })),
        clients: [],
      };
    case 'mount':
      return mount(state, request);
    case 'unmount':
      if (process.env.FAKE_UNMOUNT_BUSY && !request.force) return refuse('EBUSY', 'files are open');
      state.mounts = state.mounts.filter((each) => each.mountpoint !== request.mountpoint);
      return {};
    case 'server-start':
      return startServer(state, request);
    case 'server-stop':
      return server ? stopServer(state, server, request.signal) : refuse('ENOENT', `no server ${request.name}`);
    case 'server-restart':
      return server
        ? stopServer(state, server, 'TERM').then(() => startServer(state, server.request))
        : refuse('ENOENT', `no server ${request.name}`);
    case 'stop':
      return { after: () => stop(state) };
    default:
      return refuse('EINVAL', `unknown op ${request.op}`);
  }
}

function mount(state, request) {
  if (process.env.FAKE_MOUNT_FAIL) return refuse('EINVAL', process.env.FAKE_MOUNT_FAIL);
  if (state.mounts.some((each) => each.mountpoint === request.mountpoint)) return refuse('EEXIST', 'mounted already');
  if (request.makeDirectory) mkdirSync(request.mountpoint, { recursive: true });
  state.mounts.push({ instance: request.instance, mountpoint: request.mountpoint, device: '0:99', restored: false });
  return { device: '0:99', madeDirectory: [] };
}

function startServer(state, request) {
  if (state.servers.get(request.name)?.state === 'running') return refuse('EEXIST', `server ${request.name} runs`);
  const log = openSync(request.log, 'a');
  const process_ = spawn(request.argv[0], request.argv.slice(1), {
    stdio: ['ignore', log, log],
    cwd: request.cwd,
    env: { ...process.env, ...request.env },
  });
  const server = {
    name: request.name,
    pid: process_.pid ?? 0,
    state: 'running',
    restarts: 0,
    exit: null,
    request,
    process: process_,
  };
  process_.on('error', () => {
    server.state = 'failed';
    server.exit = 127;
  });
  process_.on('exit', (code) => {
    server.state = 'failed';
    server.exit = code;
  });
  state.servers.set(request.name, server);
  return { pid: server.pid };
}

function stopServer(state, server, signal) {
  return new Promise((resolve) => {
    const done = () => {
      state.servers.delete(server.name);
      resolve({ exit: server.exit ?? 143 });
    };
    if (server.state !== 'running') return done();
    server.process.once('exit', done);
    server.process.kill(`SIG${signal}`);
  });
}

function stop(state) {
  state.stopping = true;
  for (const server of state.servers.values()) server.process.kill('SIGKILL');
  state.service.kill('SIGKILL');
  for (const name of ['control.sock', 'service.sock', 'attach.sock', 'mounts', 'init.json'])
    rmSync(path.join(options.dir, name), { force: true });
  setTimeout(() => process.exit(0), 10);
}

function service(state, request) {
  switch (request.op) {
    case 'ping':
      return { epoch: state.epoch };
    case 'stats':
      return { epoch: state.epoch, instances: [], clients: { attached: 0 } };
    case 'queue':
      return { capacity: 256, depth: 0, workers: [] };
    case 'stack':
      return state.mounts.some((each) => each.mountpoint === request.mountpoint)
        ? { mountpoint: request.mountpoint }
        : refuse('ENOENT', 'nothing mounted there');
    case 'reset':
      return {};
    default:
      return refuse('EINVAL', `unknown op ${request.op}`);
  }
}
