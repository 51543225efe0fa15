/**
 * Where the parts of a JSON text lie, so that requests are joined and answers are split without reading a number: the
 * texts of elements move as they are. The text must be one that JSON.parse takes; the scan relies on it.
 */
export interface Range {
  readonly from: number;
  readonly to: number;
}

const quote = 0x22;
const comma = 0x2c;
const backslash = 0x5c;
const openList = 0x5b;
const closeList = 0x5d;
const openObject = 0x7b;
const closeObject = 0x7d;

/** @returns fields of the object at `at`, by name; null when it is no object, or names a field twice */
export function fieldsOf(text: string, at = 0): Map<string, Range> | null {
  const fields = new Map<string, Range>();
  let next = skipBlanks(text, at);
  if (text.charCodeAt(next) !== openObject) return null;
  next = skipBlanks(text, next + 1);
  while (text.charCodeAt(next) === quote) {
    const keyEnd = stringEnd(text, next);
    const name = JSON.parse(text.slice(next, keyEnd)) as string;
    const from = skipBlanks(text, skipBlanks(text, keyEnd) + 1); // after the colon
    const to = valueEnd(text, from);
    if (fields.has(name)) return null;
    fields.set(name, { from, to });
    next = skipBlanks(text, to);
    if (text.charCodeAt(next) !== comma) break;
    next = skipBlanks(text, next + 1);
  }
  return fields;
}

/** @returns elements of the list at `at`; null when it is no list */
export function itemsOf(text: string, at: number): Range[] | null {
  if (text.charCodeAt(at) !== openList) return null;
  const items: Range[] = [];
  let next = skipBlanks(text, at + 1);
  while (next < text.length && text.charCodeAt(next) !== closeList) {
    const to = valueEnd(text, next);
    items.push({ from: next, to });
    next = skipBlanks(text, to);
    if (text.charCodeAt(next) === comma) next = skipBlanks(text, next + 1);
  }
  return items;
}

export interface Leaves {
  readonly ranges: readonly Range[];
  /** How long the lists of each level are; null where those of one level differ, or hold lists and other things. */
  readonly lengths: readonly number[] | null;
}

/** Where all lies in a list of lists that is no list, in order; null when there is an object in it. */
export function leavesOf(text: string, { from, to }: Range): Leaves | null {
  const ranges: Range[] = [];
  const nest = new Nest();
  let at = from;
  while (at < to) {
    const code = text.charCodeAt(at);
    if (code === openObject) return null;
    if (code === openList) nest.open();
    else if (code === closeList) nest.close();
    if (code === openList || code === closeList || code === comma || isBlank(code)) at += 1;
    else {
      const end = valueEnd(text, at);
      ranges.push({ from: at, to: end });
      nest.leaf();
      at = end;
    }
  }
  return { ranges, lengths: nest.lengths };
}

/** Finds out how long the lists of a list of lists are. */
class Nest {
  /** Items so far in each list that is open. */
  private readonly counts: number[] = [];
  private readonly known: (number | undefined)[] = [];
  /** How deep what is no list lies; 0 before there is any. */
  private leafDepth = 0;
  private isRegular = true;

  open(): void {
    this.count();
    this.counts.push(0);
    if (this.known.length < this.counts.length) this.known.push(undefined);
  }

  close(): void {
    const length = this.counts.pop();
    const depth = this.counts.length;
    this.known[depth] ??= length;
    if (this.known[depth] !== length) this.isRegular = false;
  }

  leaf(): void {
    this.count();
    if (this.leafDepth === 0) this.leafDepth = this.counts.length;
    if (this.leafDepth !== this.counts.length) this.isRegular = false;
  }

  get lengths(): number[] | null {
    const isEven = this.leafDepth === 0 || this.leafDepth === this.known.length;
    return this.isRegular && isEven ? this.known.map((length) => length ?? 0) : null;
  }

  /** One more in the innermost list. */
  private count(): void {
    const last = this.counts.length - 1;
    if (last >= 0) this.counts[last] = (this.counts[last] ?? 0) + 1;
  }
}

/** The text of elements `first` to `last` (not itself) of one list, with what stands between them. */
export function between(text: string, items: readonly Range[], first: number, last: number): string {
  const [from, to] = [items[first], items[last - 1]];
  return from === undefined || to === undefined || last <= first ? '' : text.slice(from.from, to.to);
}

function valueEnd(text: string, from: number): number {
  const first = text.charCodeAt(from);
  if (first === quote) return stringEnd(text, from);
  let at = from;
  if (first !== openObject && first !== openList) {
    while (at < text.length && !isDelimiter(text.charCodeAt(at))) at += 1;
    return at;
  }
  for (let depth = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = stringEnd(text, at);
      continue;
    }
    at += 1;
    if (code === openObject || code === openList) depth += 1;
    else if (code === closeObject || code === closeList) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return at;
}

function stringEnd(text: string, from: number): number {
  let at = from + 1;
  for (let code = text.charCodeAt(at); at < text.length && code !== quote; code = text.charCodeAt(at))
    at += code === backslash ? 2 : 1;
  return at + 1;
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (isBlank(text.charCodeAt(at))) at += 1;
  return at;
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function isDelimiter(code: number): boolean {
  return code === comma || code === closeList || code === closeObject || isBlank(code);
}
