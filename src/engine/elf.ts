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
  /** Shared libraries that it names itself. */
  needed: string[];
  /** File-related system calls that its own code makes without the C library. */
  ownCalls: string[];
  /** Script: the `#!` line's program and its argument. */
  interpreter?: string;
  argument?: string;
}

const MACHINES: Record<number, string> = { 3: 'i386', 40: 'arm', 62: 'x86_64', 183: 'aarch64', 243: 'riscv' };
const PT_INTERP = 3;
const PT_NOTE = 4;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PF_X = 1;
const DT_NEEDED = 1;
const DT_STRTAB = 5;
const DT_STRSZ = 10;
const HEADERS_MAX = 128;
const DYNAMIC_BYTES_MAX = 1 << 16;
const STRINGS_BYTES_MAX = 1 << 22;
/** Programs are larger than this only by what they carry along: scripts, run-times. */
const TEXT_BYTES_MAX = 1 << 27;
const SECTION_NAMES_BYTES_MAX = 1 << 20;

/** Throws the system's error when the file cannot be read. */
export function readProgram(file: string): ProgramFacts {
  const mode = statSync(file).mode;
  const setuid = (mode & 0o6000) !== 0;
  const fd = openSync(file, 'r');
  try {
    const head = readAt(fd, 0, 4096);
    if (head.subarray(0, 2).toString('latin1') === '#!')
      return { format: 'script', go: false, setuid, needed: [], ownCalls: [], ...shebang(head) };
    if (head.length >= 52 && head.readUInt32BE(0) === 0x7f454c46)
      return { format: 'elf', setuid, ...readElf(fd, head) };
    return { format: 'other', go: false, setuid, needed: [], ownCalls: [] };
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
    needed: [],
    ownCalls: [],
  };
  const segments: Segment[] = [];
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
    segments.push({
      kind,
      offset,
      length,
      address: layout.word(header, wide ? 16 : 8),
      flags: layout.u32(header, wide ? 4 : 24),
    });
    if (kind === PT_INTERP)
      facts.loader = readAt(fd, offset, Math.min(length, 4096)).toString('utf8').replace(/\0.*$/s, '');
    if (kind === PT_NOTE && readAt(fd, offset, Math.min(length, 4096)).includes('Go\0\0')) facts.go = true;
  }
  facts.go ||= hasGoSections(fd, head, layout);
  facts.needed = neededLibraries(fd, segments, layout);
  facts.ownCalls = ownCalls(fd, segments, machineNumber);
  return facts;
}

interface Segment {
  kind: number;
  offset: number;
  length: number;
  address: number;
  flags: number;
}

function neededLibraries(fd: number, segments: Segment[], layout: Layout): string[] {
  const dynamic = segments.find((segment) => segment.kind === PT_DYNAMIC);
  if (!dynamic) return [];
  const table = readAt(fd, dynamic.offset, Math.min(dynamic.length, DYNAMIC_BYTES_MAX));
  const width = layout.wide ? 8 : 4;
  const names: number[] = [];
  let address = 0;
  let size = 0;
  for (let at = 0; at + 2 * width <= table.length; at += 2 * width) {
    const tag = layout.word(table, at);
    const value = layout.word(table, at + width);
    if (tag === 0) break;
    if (tag === DT_NEEDED) names.push(value);
    if (tag === DT_STRTAB) address = value;
    if (tag === DT_STRSZ) size = value;
  }
  const home = segments.find(
    (segment) => segment.kind === PT_LOAD && address >= segment.address && address < segment.address + segment.length,
  );
  if (!home) return [];
  const strings = readAt(fd, home.offset + address - home.address, Math.min(size, STRINGS_BYTES_MAX));
  return names
    .filter((start) => start < strings.length)
    .map((start) => strings.toString('utf8', start, Math.max(start, strings.indexOf(0, start))));
}

/** What a program would do itself that the library would have carried, by number. */
const CALLS: Record<
  number,
  { instruction: Buffer; numberOf(text: Buffer, at: number): number; names: Record<number, string> }
> = {
  62: {
    instruction: Buffer.from([0x0f, 0x05]),
    numberOf: loadedInto('eax'),
    names: {
      0: 'read',
      1: 'write',
      2: 'open',
      4: 'stat',
      5: 'fstat',
      6: 'lstat',
      8: 'lseek',
      17: 'pread64',
      18: 'pwrite64',
      82: 'rename',
      87: 'unlink',
      257: 'openat',
      262: 'newfstatat',
      332: 'statx',
      425: 'io_uring_setup',
      437: 'openat2',
    },
  },
  183: {
    instruction: Buffer.from([0x01, 0x00, 0x00, 0xd4]),
    numberOf: loadedInto('x8'),
    names: {
      56: 'openat',
      62: 'lseek',
      63: 'read',
      64: 'write',
      67: 'pread64',
      68: 'pwrite64',
      79: 'newfstatat',
      80: 'fstat',
      291: 'statx',
      425: 'io_uring_setup',
      437: 'openat2',
    },
  },
};
/** How far before the instruction its number is looked for. */
const LOAD_DISTANCE_MAX = 32;

/** The constant that was loaded last into the register that names the call; NaN when it was not a constant. */
function loadedInto(register: 'eax' | 'x8'): (text: Buffer, at: number) => number {
  if (register === 'eax')
    return (text, at) => {
      for (let back = at - 5; back >= 0 && back >= at - LOAD_DISTANCE_MAX; back--)
        if (text[back] === 0xb8 && text.readUInt32LE(back + 1) < 1024 && onlyArguments(text, back + 5, at))
          return text.readUInt32LE(back + 1);
      return Number.NaN;
    };
  return (text, at) => {
    for (let back = at - 4; back >= 0 && back >= at - LOAD_DISTANCE_MAX; back -= 4) {
      const word = text.readUInt32LE(back);
      if ((word & 0xffe0001f) >>> 0 === 0xd2800008) return (word >>> 5) & 0xffff;
    }
    return Number.NaN;
  };
}

/** Bytes `from` to `to` are whole x86 instructions that fill registers, as between a call's number and the call: else the two bytes of the call are likely part of something else. */
function onlyArguments(text: Buffer, from: number, to: number): boolean {
  let at = from;
  while (at < to) {
    const rex = (text[at] ?? 0) >= 0x40 && (text[at] ?? 0) <= 0x4f;
    const code = text[rex ? at + 1 : at] ?? 0;
    at += rex ? 2 : 1;
    if (code >= 0xb8 && code <= 0xbf) at += rex && ((text[at - 2] ?? 0) & 8) !== 0 ? 8 : 4;
    else if ([0x31, 0x33, 0x89, 0x8b, 0x8d, 0x63].includes(code)) at += operandBytes(text, at);
    else if (code === 0xc7) at += operandBytes(text, at) + 4;
    else return false;
  }
  return at === to;
}

/** The length of an x86 operand: the ModRM byte and what it says follows. */
function operandBytes(text: Buffer, at: number): number {
  const modrm = text[at] ?? 0;
  const mod = modrm >> 6;
  if (mod === 3) return 1;
  const sib = (modrm & 7) === 4 ? 1 : 0;
  const wide = mod === 2 || (mod === 0 && ((modrm & 7) === 5 || (sib === 1 && ((text[at + 1] ?? 0) & 7) === 5)));
  return 1 + sib + (wide ? 4 : mod === 1 ? 1 : 0);
}

function ownCalls(fd: number, segments: Segment[], machine: number): string[] {
  const known = CALLS[machine];
  if (!known) return [];
  const found = new Set<string>();
  for (const segment of segments) {
    if (segment.kind !== PT_LOAD || (segment.flags & PF_X) === 0) continue;
    const text = readAt(fd, segment.offset, Math.min(segment.length, TEXT_BYTES_MAX));
    for (let at = text.indexOf(known.instruction); at >= 0; at = text.indexOf(known.instruction, at + 1)) {
      const name = known.names[known.numberOf(text, at)];
      if (name) found.add(name);
    }
  }
  return [...found].sort();
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
