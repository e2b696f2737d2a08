/**
 * What a program file is, as far as it decides which door the program will use: read from its first bytes and ELF headers alone.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';

export interface ProgramFacts {
  format: 'elf' | 'script' | 'other';
  /** ELF: 32 or 64 bit, machine name. */
  bits?: 32 | 64;
  machine?: string;
  /** Program interpreter (dynamic loader); absent: static. */
  loader?: string;
  go: boolean;
  setuid: boolean;
  /** Script: the `#!` line's program and its argument. */
  interpreter?: string;
  argument?: string;
}

const MACHINES: Record<number, string> = { 3: 'i386', 40: 'arm', 62: 'x86_64', 183: 'aarch64', 243: 'riscv' };
const PT_INTERP = 3;
const PT_NOTE = 4;
const HEADERS_MAX = 128;
const SECTION_NAMES_BYTES_MAX = 1 << 20;

/** Throws the system's error when the file cannot be read. */
export function readProgram(file: string): ProgramFacts {
  const mode = statSync(file).mode;
  const setuid = (mode & 0o6000) !== 0;
  const fd = openSync(file, 'r');
  try {
    const head = readAt(fd, 0, 4096);
    if (head.subarray(0, 2).toString('latin1') === '#!')
      return { format: 'script', go: false, setuid, ...shebang(head) };
    if (head.length >= 52 && head.readUInt32BE(0) === 0x7f454c46)
      return { format: 'elf', setuid, ...readElf(fd, head) };
    return { format: 'other', go: false, setuid };
  } finally {
    closeSync(fd);
  }
}

function shebang(head: Buffer): Pick<ProgramFacts, 'interpreter' | 'argument'> {
  const end = head.indexOf(10);
  const line = head
    .subarray(2, end < 0 ? 256 : end)
    .toString('utf8')
    .trim();
  const space = line.search(/\s/);
  return space < 0 ? { interpreter: line } : { interpreter: line.slice(0, space), argument: line.slice(space).trim() };
}

function readAt(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
}

interface Layout {
  wide: boolean;
  u16(buffer: Buffer, at: number): number;
  u32(buffer: Buffer, at: number): number;
  /** An address-sized number. */
  word(buffer: Buffer, at: number): number;
}

function layoutOf(head: Buffer): Layout {
  const wide = head[4] === 2;
  const little = head[5] === 1;
  const u32 = (buffer: Buffer, at: number) => (little ? buffer.readUInt32LE(at) : buffer.readUInt32BE(at));
  return {
    wide,
    u16: (buffer, at) => (little ? buffer.readUInt16LE(at) : buffer.readUInt16BE(at)),
    u32,
    word: (buffer, at) =>
      wide ? Number(little ? buffer.readBigUInt64LE(at) : buffer.readBigUInt64BE(at)) : u32(buffer, at),
  };
}

function readElf(fd: number, head: Buffer): Omit<ProgramFacts, 'format' | 'setuid'> {
  const layout = layoutOf(head);
  const { wide } = layout;
  const machineNumber = layout.u16(head, 18);
  const facts: Omit<ProgramFacts, 'format' | 'setuid'> = {
    bits: wide ? 64 : 32,
    machine: MACHINES[machineNumber] ?? `machine ${machineNumber}`,
    go: false,
  };
  const table = layout.word(head, wide ? 32 : 28);
  const size = layout.u16(head, wide ? 54 : 42);
  const count = Math.min(layout.u16(head, wide ? 56 : 44), HEADERS_MAX);
  if (size < (wide ? 56 : 32)) return facts;
  const headers = readAt(fd, table, size * count);
  for (let index = 0; (index + 1) * size <= headers.length; index++) {
    const header = headers.subarray(index * size);
    const kind = layout.u32(header, 0);
    const offset = layout.word(header, wide ? 8 : 4);
    const length = layout.word(header, wide ? 32 : 16);
    if (kind === PT_INTERP)
      facts.loader = readAt(fd, offset, Math.min(length, 4096)).toString('utf8').replace(/\0.*$/s, '');
    if (kind === PT_NOTE && readAt(fd, offset, Math.min(length, 4096)).includes('Go\0\0')) facts.go = true;
  }
  facts.go ||= hasGoSections(fd, head, layout);
  return facts;
}

/** Go programs linked by other linkers have no Go note, but always the run-time's line table. */
function hasGoSections(fd: number, head: Buffer, layout: Layout): boolean {
  const { wide } = layout;
  const table = layout.word(head, wide ? 40 : 32);
  const size = layout.u16(head, wide ? 58 : 46);
  const names = layout.u16(head, wide ? 62 : 50);
  if (table === 0 || size < (wide ? 64 : 40)) return false;
  const header = readAt(fd, table + names * size, size);
  if (header.length < size) return false;
  const length = Math.min(layout.word(header, wide ? 32 : 20), SECTION_NAMES_BYTES_MAX);
  const text = readAt(fd, layout.word(header, wide ? 24 : 16), length).toString('latin1');
  return text.includes('.gopclntab') || text.includes('.go.buildinfo');
}
