#!/usr/bin/env node
// A stand-in for diciclo-enter: joins the control groups and runs the command, without namespaces or preload.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const argv = process.argv.slice(2);
const separator = argv.indexOf('--');
const own = separator < 0 ? argv : argv.slice(0, separator);
for (let at = 0; at < own.length; at += 2) if (own[at] === '--cgroup') writeFileSync(own[at + 1], String(process.pid));
if (separator < 0) process.exit(0);
const cwd = own.includes('--cwd') ? own[own.indexOf('--cwd') + 1] : undefined;
const [command, ...rest] = argv.slice(separator + 1);
const child = spawn(command, rest, { stdio: 'inherit', cwd });
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'])
  process.on(signal, () => child.kill(signal));
child.on('error', (error) => process.exit(error.code === 'ENOENT' ? 127 : 126));
child.on('exit', (code, signal) => process.exit(code ?? 128 + ({ SIGTERM: 15, SIGKILL: 9, SIGINT: 2 }[signal] ?? 0)));
