import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { doctor } from '../../src/engine/doctor.js';

describe('doctor', { timeout: 60_000 }, () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'dct-doctor-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const last = async (program: string, id: string) =>
    (await doctor(program)).filter((finding) => finding.id === id).at(-1)?.detail;
  const door = async (program: string) => {
    const findings = await doctor(program);
    return (findings.filter((finding) => finding.id === 'door').at(-1) ?? findings.at(-1))?.detail;
  };
  const dispatch = (program: string) => last(program, 'dispatch');
  const script = (name: string, text: string) => {
    const file = path.join(directory, name);
    writeFileSync(file, text);
    chmodSync(file, 0o755);
    return file;
  };

  it('looks at the machine: every finding with a title, what is missing with a fix', async () => {
    const findings = await doctor();
    expect(findings.map((finding) => finding.id)).toEqual(
      expect.arrayContaining(['machine', 'root', 'fuse-device', 'kernel', 'cgroup-memory', 'nofile', 'native']),
    );
    for (const finding of findings.filter((each) => each.status === 'missing')) expect(finding.fix).toBeTruthy();
  });

  it('sends dynamic programs to the library', async () => {
    expect(await door('ls')).toMatch(/^library door/);
  });

  it('follows a script to its interpreter, through env too', async () => {
    const findings = await doctor(script('a', '#!/usr/bin/env -S sh -e\n'));
    expect(findings.map((finding) => finding.title)).toEqual([
      path.join(directory, 'a'),
      'sh',
      'door',
      'system call dispatch',
    ]);
    expect(findings.at(-2)?.detail).toMatch(/^library door/);
    expect(await door(script('b', '#!/no/such/interpreter\n'))).toContain('no program');
  });

  it.skipIf(!existsSync('/usr/bin/gcc'))('sends static and setuid programs to the kernel door', async () => {
    const source = path.join(directory, 'x.c');
    writeFileSync(source, 'int main(void) { return 0; }\n');
    execFileSync('gcc', ['-static', '-o', path.join(directory, 'static'), source]);
    execFileSync('gcc', ['-o', path.join(directory, 'dynamic'), source]);
    expect(await door(path.join(directory, 'static'))).toContain('linked statically');
    expect(await dispatch(path.join(directory, 'static'))).toMatch(/^no help/);
    expect(await door(path.join(directory, 'dynamic'))).toMatch(/^library door/);
    chmodSync(path.join(directory, 'dynamic'), 0o4755);
    expect(await door(path.join(directory, 'dynamic'))).toContain('setuid');
  });

  it.skipIf(!existsSync('/usr/bin/gcc') || process.arch !== 'x64')('says what goes past the library', async () => {
    const file = (name: string) => path.join(directory, name);
    writeFileSync(
      file('own.c'),
      'int main(void) { long n = 257, fd; __asm__ volatile("mov $257, %%eax; xor %%edx, %%edx; syscall" : "=a"(fd) : "D"(-100), "S"("x") : "rcx", "r11", "rdx"); return (int)(fd + n); }\n',
    );
    execFileSync('gcc', ['-o', file('own'), file('own.c')]);
    expect(await door(file('own'))).toMatch(/^library door.*system calls of its own \(openat\)/);
    expect(await dispatch(file('own'))).toMatch(/would carry its own system calls \(openat\)|^no help: this kernel/);
    writeFileSync(file('ring.c'), 'int ring(void) { return 0; }\n');
    writeFileSync(file('user.c'), 'int ring(void); int main(void) { return ring(); }\n');
    for (const [library, words] of [
      ['liburing.so.2', 'io_uring ring'],
      ['libaio.so.1', 'through libaio'],
    ] as const) {
      execFileSync('gcc', ['-shared', '-fPIC', `-Wl,-soname,${library}`, '-o', file(library), file('ring.c')]);
      execFileSync('gcc', ['-o', file('user'), file('user.c'), file(library)]);
      expect(await door(file('user'))).toContain(words);
    }
    execFileSync('gcc', ['-shared', '-fPIC', '-Wl,-soname,libdiciclo.so', '-o', file('libdiciclo.so'), file('ring.c')]);
    execFileSync('gcc', ['-o', file('linked'), file('user.c'), file('libdiciclo.so')]);
    expect(await door(file('linked'))).toMatch(/^library door: linked/);
    execFileSync('gcc', ['-o', file('strange'), '-Wl,--dynamic-linker,/system/bin/linker64', file('own.c')]);
    expect(await door(file('strange'))).toContain("is not glibc's");
  });

  it('knows what is no program at all', async () => {
    expect((await doctor('no-such-program-here'))[0]).toMatchObject({ status: 'missing' });
    expect((await doctor('/etc'))[0]).toMatchObject({ status: 'missing' });
    expect(await door(script('c', 'just text\n'))).toMatch(/^kernel door/);
    expect(await door(script('d', '\x7fELF'))).toMatch(/^kernel door/);
  });
});
