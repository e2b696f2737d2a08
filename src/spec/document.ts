/**
 * First step of validation: text to data, within limits (a limit on everything, so that no input takes long or fills memory), and back from a key to its line.
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
} from 'yaml';
import { type Path, type Problem, pathText } from './problems.js';

/** Bytes. The parser takes up to 3 microseconds and a kilobyte of memory for each byte of a hostile text. */
export const MAX_BYTES = 256 * 1024;
export const MAX_NODES = 20_000;
export const MAX_DEPTH = 64;
export const MAX_ALIASES = 100;

type YamlDocument = Document.Parsed<ParsedNode>;

/** Walks the tree of nodes once: duplicate keys, keys that are no words, depth and counts. */
class Inspector {
  nodes = 0;
  aliases = 0;
  readonly problems: { node: unknown; path: Path; message: string }[] = [];
  /** A limit was passed: no further look. */
  stopped = false;
  /** Anchors of the values around the present one. */
  private readonly around: (string | undefined)[] = [];

  inspect(node: unknown, path: Path): void {
    if (this.stopped) return;
    this.nodes += 1;
    if (isAlias(node)) this.aliases += 1;
    this.around.push(isMap(node) || isSeq(node) ? node.anchor : undefined);
    this.inspectInside(node, path);
    this.around.pop();
  }

  private inspectInside(node: unknown, path: Path): void {
    if (this.nodes > MAX_NODES) this.stop(node, `more than ${MAX_NODES} values; a spec is smaller`);
    else if (this.aliases > MAX_ALIASES) this.stop(node, `more than ${MAX_ALIASES} aliases`);
    else if (path.length > MAX_DEPTH) this.stop(node, `nested more than ${MAX_DEPTH} levels deep`);
    else if (isAlias(node) && this.around.includes(node.source)) {
      this.problems.push({
        node,
        path,
        message: `the alias *${node.source.slice(0, 80)} is inside what it stands for`,
      });
    } else if (isMap(node)) this.inspectMap(node.items, path);
    else if (isSeq(node))
      node.items.forEach((item, index) => {
        this.inspect(item, [...path, index]);
      });
  }

  private inspectMap(items: readonly unknown[], path: Path): void {
    const seen = new Set<string>();
    for (const item of items) {
      if (this.stopped || !isPair(item)) return;
      if (!isScalar(item.key)) {
        this.problems.push({ node: item.key, path, message: 'a key must be a word' });
        continue;
      }
      const key = String(item.key.value);
      if (seen.has(key))
        this.problems.push({
          node: item.key,
          path: [...path, key],
          message: `the key "${key.slice(0, 80)}" is there twice`,
        });
      seen.add(key);
      this.inspect(item.value, [...path, key]);
    }
  }

  private stop(node: unknown, message: string): void {
    this.stopped = true;
    this.problems.push({ node, path: [], message });
  }
}

/** A parsed text. `data` is only there when `problems` is empty. */
export class SpecDocument {
  readonly problems: Problem[] = [];
  readonly data: unknown;
  private readonly lines = new LineCounter();
  private readonly document: YamlDocument | undefined;

  /** `file` is how messages name the text. */
  constructor(
    text: string,
    readonly file: string,
  ) {
    if (Buffer.byteLength(text) > MAX_BYTES) {
      this.problems.push(this.problemAt(0, [], `larger than ${MAX_BYTES / 1024} KiB; a spec is smaller`));
      return;
    }
    this.document = parseDocument(text, {
      lineCounter: this.lines,
      prettyErrors: false,
      uniqueKeys: false,
      version: '1.2',
      schema: 'core',
    });
    for (const error of this.document.errors.slice(0, 100))
      this.problems.push(this.problemAt(error.pos[0], [], yamlMessage(error.message)));
    if (this.problems.length > 0) return;
    const inspector = new Inspector();
    inspector.inspect(this.document.contents, []);
    for (const { node, path, message } of inspector.problems)
      this.problems.push(this.problemAt(offsetOf(node), path, message));
    if (this.problems.length > 0) return;
    this.data = this.toData();
  }

  /** A problem at the value of `path`, or at the nearest value above it that the text has; with `key`, at that key of the value. */
  problem(path: Path, message: string, more: { key?: string; hint?: string } = {}): Problem {
    const shown = more.key === undefined ? path : [...path, more.key];
    return {
      ...this.problemAt(this.offset(path, more.key), shown, message),
      ...(more.hint ? { hint: more.hint } : {}),
    };
  }

  private problemAt(offset: number, path: Path, message: string): Problem {
    const { line, col } = this.lines.linePos(offset);
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col), path: pathText(path), message };
  }

  private toData(): unknown {
    try {
      return this.document?.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      const message =
        error instanceof ReferenceError
          ? 'aliases that grow into too many values, or that name no anchor'
          : 'a value that cannot be read';
      this.problems.push(this.problemAt(0, [], message));
      return undefined;
    }
  }

  private offset(path: Path, key: string | undefined): number {
    let node: unknown = this.document?.contents;
    let offset = offsetOf(node);
    for (const step of path) {
      node = this.resolve(node);
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        if (!pair) return offset;
        offset = offsetOf(pair.value) || offsetOf(pair.key);
        node = pair.value;
      } else if (isSeq(node)) {
        node = node.items[Number(step)];
        offset = offsetOf(node) || offset;
      } else return offset;
    }
    if (key === undefined) return offset;
    const map = this.resolve(node);
    if (!isMap(map)) return offset;
    const pair = map.items.find((item) => isScalar(item.key) && String(item.key.value) === key);
    return pair ? offsetOf(pair.key) : offset;
  }

  private resolve(node: unknown): unknown {
    return isAlias(node) && this.document ? node.resolve(this.document) : node;
  }
}

function offsetOf(node: unknown): number {
  return isNode(node) ? ((node as Node).range?.[0] ?? 0) : 0;
}

/** The parser's own words, without what it repeats of the text. */
function yamlMessage(message: string): string {
  if (message.includes('call stack')) return `nested more than ${MAX_DEPTH} levels deep`;
  const line = message.split('\n', 1)[0] ?? message;
  return `not YAML: ${line.slice(0, 200)}`;
}
