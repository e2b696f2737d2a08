/**
 * The spec: text to the full form in three steps (YAML, shape, meaning), the plan of an instance, and back to text.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { DicicloError, ExitStatus, type StackNode, type TenantSpec } from '../engine/types.js';
import { checkShape } from './check.js';
import { MAX_BYTES, SpecDocument } from './document.js';
import { checkMeaning } from './meaning.js';
import { normalizeTenant } from './normalize.js';
import { type Problem, specError } from './problems.js';
import { type Report, stackFrom } from './stack.js';

export { compileInstance } from './compile.js';
export { exportResources, exportStack, exportTenant } from './export.js';
export { mountProblem } from './meaning.js';
export { REFERENCE, stackTypes } from './stack.js';

/** The full form of a tenant spec. `file` is how messages name the text. Throws SPEC_INVALID with every problem found (exit status 2). */
export function parseTenant(text: string, file: string): TenantSpec {
  const document = new SpecDocument(text, file);
  refuse(file, document.problems);
  if (document.data === null) throw specError(file, [document.problem([], 'the spec is empty')]);
  refuse(file, checkShape(document, 'tenant'));
  const problems: Problem[] = [];
  const report: Report = (path, message, more) => problems.push(document.problem(path, message, more));
  const normalized = normalizeTenant(document.data, report);
  checkMeaning(normalized, report);
  refuse(file, problems);
  return normalized.spec;
}

/** A stack alone (`[cache: {size: 64Mi}, local: {path: /srv/x}]`), without references to other filesystems. Throws SPEC_INVALID. */
export function parseStack(text: string, source: string): StackNode {
  const document = new SpecDocument(text, source);
  refuse(source, document.problems);
  if (document.data === null) throw specError(source, [document.problem([], 'the stack is empty')]);
  refuse(source, checkShape(document, 'stack'));
  const problems: Problem[] = [];
  const report: Report = (path, message, more) => problems.push(document.problem(path, message, more));
  const stack = stackFrom(document.data, [], { filesystems: new Set(), report, places: new Map() });
  refuse(source, problems);
  return stack as StackNode;
}

function refuse(file: string, problems: readonly Problem[]): void {
  if (problems.length > 0) throw specError(file, problems);
}

/** Reads and parses a spec; `-` is standard input. Throws SPEC_NOT_FOUND (3), SPEC_UNREADABLE (1, 7) or SPEC_INVALID (2). */
export async function loadTenant(file: string): Promise<TenantSpec> {
  const name = file === '-' ? '<stdin>' : file;
  const bytes = file === '-' ? await readStart(process.stdin, MAX_BYTES + 1) : await readFileStart(file, MAX_BYTES + 1);
  // What is too large is cut anywhere, also within a letter; parseTenant says that it is too large.
  const decoder = new TextDecoder('utf-8', { fatal: bytes.length <= MAX_BYTES });
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw new DicicloError('SPEC_INVALID', `${name} is not UTF-8 text.`, { exit: ExitStatus.usage, cause });
  }
  return parseTenant(text, name);
}

/** The first `limit` bytes at most, whatever the file is. */
async function readFileStart(file: string, limit: number): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, 'r');
    if ((await handle.stat()).isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    return await readStart(handle.createReadStream({ autoClose: false }), limit);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') {
      throw new DicicloError('SPEC_NOT_FOUND', `There is no spec at ${file}.`, {
        exit: ExitStatus.notFound,
        hints: ['ready specs are in templates/'],
        cause,
      });
    }
    const why =
      code === 'EISDIR'
        ? 'it is a directory'
        : code === 'EACCES' || code === 'EPERM'
          ? 'permission was denied'
          : (cause as Error).message;
    throw new DicicloError('SPEC_UNREADABLE', `The spec ${file} cannot be read: ${why}.`, {
      exit: code === 'EACCES' || code === 'EPERM' ? ExitStatus.permission : ExitStatus.failed,
      cause,
    });
  } finally {
    await handle?.close();
  }
}

async function readStart(stream: NodeJS.ReadableStream, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size >= limit) break;
  }
  return Buffer.concat(chunks).subarray(0, limit);
}
