/**
 * One text for all JSON documents that say the same: members in the order of their names, no space, strings with
 * the shortest escapes. Numbers stay as they were written, so two that a double would confuse stay apart (and 1 and
 * 1.0 too: a miss costs little, a wrong hit much). A document that names a member twice means different things to
 * different readers: it has no canonical text. One pass over the characters; nothing is parsed into objects.
 */
export type Canonical =
  | {
      readonly kind: 'canonical';
      readonly text: string;
      /** The ignored members in the order that they came in, each as canonical text; '' when there are none. */
      readonly ignored: string;
    }
  | { readonly kind: 'refused'; readonly reason: 'duplicate_key' | 'too_deep' | 'not_json' };

/** Deeper documents are refused: the scan recurses. */
const depthMax = 100;

/**
 * @param text a JSON document
 * @param ignored names of members of the outermost object that do not count, in quotes: `"stream"`
 */
export function canonicalJson(text: string, ignored: ReadonlySet<string> = nothing): Canonical {
  const scan = new Scan(text, ignored);
  try {
    const value = scan.value(0);
    scan.skipSpace();
    if (scan.at < text.length) return { kind: 'refused', reason: 'not_json' };
    return { kind: 'canonical', text: value, ignored: scan.left.join(',') };
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', reason: error.reason };
    throw error;
  }
}

const nothing: ReadonlySet<string> = new Set();

class Refused extends Error {
  readonly reason: 'duplicate_key' | 'too_deep' | 'not_json';

  constructor(reason: 'duplicate_key' | 'too_deep' | 'not_json') {
    super(reason);
    this.reason = reason;
  }
}

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const braceOpen = 0x7b;
const braceClose = 0x7d;
const bracketOpen = 0x5b;
const bracketClose = 0x5d;

const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
const scalar = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;

class Scan {
  at = 0;
  /** Ignored members. */
  readonly left: string[] = [];
  private readonly text: string;
  private readonly ignored: ReadonlySet<string>;
  /** Of the first backslash at or behind `at`; the text's length when there is none. */
  private nextBackslash: number;

  constructor(text: string, ignored: ReadonlySet<string>) {
    this.text = text;
    this.ignored = ignored;
    this.nextBackslash = this.findBackslash(0);
  }

  skipSpace(): void {
    while (isSpace(this.text.charCodeAt(this.at))) this.at += 1;
  }

  value(depth: number): string {
    this.skipSpace();
    const code = this.text.charCodeAt(this.at);
    if (code === quote) return this.string();
    if (code === braceOpen || code === bracketOpen) {
      if (depth >= depthMax) throw new Refused('too_deep');
      return code === braceOpen ? this.object(depth) : this.array(depth);
    }
    return this.scalar();
  }

  private object(depth: number): string {
    const members: Member[] = [];
    let isSorted = true;
    let last = '';
    if (!this.opensEmpty(braceClose)) {
      do {
        this.skipSpace();
        if (this.text.charCodeAt(this.at) !== quote) throw new Refused('not_json');
        const name = this.string();
        this.skipSpace();
        this.expect(colon);
        const value = this.value(depth + 1);
        if (members.length > 0 && !(last < name)) isSorted = false;
        last = name;
        const isIgnored = depth === 0 && this.ignored.has(name);
        if (isIgnored) this.left.push(`${name}:${value}`);
        members.push({ name, value: isIgnored ? '' : value });
      } while (this.another(braceClose));
    }
    return isSorted ? joined(members) : sorted(members);
  }

  private array(depth: number): string {
    let out = '[';
    if (!this.opensEmpty(bracketClose)) {
      out += this.value(depth + 1);
      while (this.another(bracketClose)) out += `,${this.value(depth + 1)}`;
    }
    return `${out}]`;
  }

  /** Steps over the opening bracket, and over the closing one when nothing lies between. */
  private opensEmpty(close: number): boolean {
    this.at += 1;
    this.skipSpace();
    if (this.text.charCodeAt(this.at) !== close) return false;
    this.at += 1;
    return true;
  }

  /** True at a comma; false at the closing bracket; steps over either. */
  private another(close: number): boolean {
    this.skipSpace();
    const code = this.text.charCodeAt(this.at);
    this.at += 1;
    if (code === comma) return true;
    if (code === close) return false;
    throw new Refused('not_json');
  }

  private expect(code: number): void {
    if (this.text.charCodeAt(this.at) !== code) throw new Refused('not_json');
    this.at += 1;
  }

  private scalar(): string {
    const from = this.at;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (!(code > 0x20) || code === comma || code === braceClose || code === bracketClose) break;
      this.at += 1;
    }
    const text = this.text.slice(from, this.at);
    if (!scalar.test(text)) throw new Refused('not_json');
    return text;
  }

  /** With its quotes. */
  private string(): string {
    const { text } = this;
    const from = this.at;
    let close = text.indexOf('"', from + 1);
    if (close < 0) throw new Refused('not_json');
    if (close < this.nextBackslash) {
      this.at = close + 1;
      return text.slice(from, this.at);
    }
    let isPlain = true;
    while (this.nextBackslash < close) {
      const escaped = text.charCodeAt(this.nextBackslash + 1);
      if (escaped === 0x75 || escaped === 0x2f) isPlain = false; // \u and \/ have other spellings
      const after = this.nextBackslash + 2;
      if (close < after) close = text.indexOf('"', after);
      if (close < 0) throw new Refused('not_json');
      this.nextBackslash = this.findBackslash(after);
    }
    this.at = close + 1;
    const raw = text.slice(from, this.at);
    return isPlain ? raw : respelled(raw);
  }

  private findBackslash(from: number): number {
    const at = this.text.indexOf('\\', from);
    return at < 0 ? this.text.length : at;
  }
}

interface Member {
  readonly name: string;
  /** '': it does not count. */
  readonly value: string;
}

function joined(members: readonly Member[]): string {
  let out = '{';
  for (const { name, value } of members) {
    if (value === '') continue;
    out += out.length === 1 ? `${name}:${value}` : `,${name}:${value}`;
  }
  return `${out}}`;
}

/** By insertion: most objects have a few members, and those come nearly sorted from one client. */
function sorted(members: Member[]): string {
  if (members.length > insertionMax) members.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (let at = 1; at < members.length; at += 1) {
    const member = members[at];
    if (member === undefined) continue;
    let to = at;
    for (; to > 0; to -= 1) {
      const before = members[to - 1];
      if (before === undefined || before.name < member.name) break;
      if (before.name === member.name) throw new Refused('duplicate_key');
      members[to] = before;
    }
    members[to] = member;
  }
  return joined(members);
}

/** Above, insertion would be slow for members in the wrong order. */
const insertionMax = 16;

function respelled(raw: string): string {
  try {
    return JSON.stringify(JSON.parse(raw));
  } catch {
    throw new Refused('not_json');
  }
}
