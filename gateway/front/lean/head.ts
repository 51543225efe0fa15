import { httpToken } from '../../http-token.ts';
import { hasBytesAt } from '../../same-bytes.ts';
import { HeadMemo } from '../exchange.ts';

/**
 * Which request heads are plain enough to be read here. Anything else is an oddity, which node's own parser gets to
 * see from its first byte: it reads or refuses it. So nothing is refused here, and nothing is taken that llhttp's
 * strict mode would not take in the same way: where two readers of one request could differ (two lengths, a length
 * and a transfer coding, folded lines, bare line feeds, a space before the colon) the request is not plain.
 */
export type Oddity =
  'line' | 'target' | 'bytes' | 'field' | 'framing' | 'host' | 'connection' | 'repeated' | 'size';

export const oddities: readonly Oddity[] = [
  'line',
  'target',
  'bytes',
  'field',
  'framing',
  'host',
  'connection',
  'repeated',
  'size',
];

/** One value for all requests of a connection that come with the same head. Nobody may change it. */
export class RequestHead {
  readonly memo = new HeadMemo();
  readonly method: string;
  /** Without query. */
  readonly path: string;
  /** With its question mark, or ''. */
  readonly query: string;
  /** Lower-case names, repeated ones joined as node does, without content-length, which differs; frozen. */
  readonly headers: Readonly<Record<string, string>>;
  /** Of its first request; -1 without content-length. */
  readonly contentLength: number;
  /** The client wants the connection closed after the answer. */
  readonly isLast: boolean;
  /** Of the whole head. */
  readonly size: number;
  /** Bytes up to the digits of content-length, and those after them to the body. */
  private readonly before: Buffer;
  private readonly after: Buffer;

  constructor(parts: HeadParts, bytes: Buffer) {
    this.method = parts.method;
    const mark = parts.target.indexOf('?');
    this.path = mark < 0 ? parts.target : parts.target.slice(0, mark);
    this.query = mark < 0 ? '' : parts.target.slice(mark);
    this.headers = Object.freeze(parts.headers);
    this.contentLength = parts.contentLength;
    this.isLast = parts.isLast;
    this.size = bytes.length;
    const kept = Buffer.from(bytes); // a copy: the bytes belong to a larger read, bodies and all
    this.before = kept.subarray(0, parts.lengthAt);
    this.after = kept.subarray(parts.lengthEnd);
  }

  /**
   * Clients that keep a connection mostly send the same head again with another content-length. The same bytes
   * mean the same: two comparisons take the place of parsing.
   * @param into gets where the body begins and its length
   * @returns false when the head is another, or not yet whole
   */
  matches(bytes: Buffer, at: number, into: Match): boolean {
    const { before, after } = this;
    const digitsAt = at + before.length;
    if (bytes.length < digitsAt + after.length) return false;
    if (!hasBytesAt(bytes, at, before)) return false;
    if (this.contentLength < 0) {
      into.length = 0;
      into.bodyAt = digitsAt;
      return true;
    }
    let length = 0;
    let end = digitsAt;
    for (; ; end += 1) {
      const digit = (bytes[end] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) break;
      length = length * 10 + digit;
    }
    if (end === digitsAt || end - digitsAt > lengthDigitsMax) return false;
    if (length > 0 && this.method !== 'POST') return false;
    const bodyAt = end + after.length;
    if (!hasBytesAt(bytes, end, after)) return false;
    into.length = length;
    into.bodyAt = bodyAt;
    return true;
  }
}

/** What `matches` found; one object serves all connections. */
export interface Match {
  bodyAt: number;
  length: number;
}

interface HeadParts {
  readonly method: string;
  readonly target: string;
  readonly headers: Record<string, string>;
  readonly contentLength: number;
  /** Offsets of the digits of content-length; the head's end, twice, without one. */
  readonly lengthAt: number;
  readonly lengthEnd: number;
  readonly isLast: boolean;
}

const lengthDigitsMax = 15;
const headersMax = 200;

/** @param bytes the head with the empty line that ends it, and nothing after it */
export function parseHead(bytes: Buffer): RequestHead | Oddity {
  if (!isClean(bytes)) return 'bytes';
  const text = bytes.toString('latin1', 0, bytes.length - 2);
  const lineEnd = text.indexOf('\r\n');
  const target = readTarget(text, lineEnd);
  if (target === null) return 'line';
  if (!isPlainTarget(target)) return 'target';
  const fields = new Fields();
  for (let at = lineEnd + 2; at < text.length;) {
    const end = text.indexOf('\r\n', at);
    const oddity = fields.add(text, at, end);
    if (oddity !== null) return oddity;
    at = end + 2;
  }
  if (fields.headers['host'] === undefined) return 'host';
  const { headers, contentLength, isLast } = fields;
  const method = text.slice(0, text.indexOf(' '));
  // A body that is not asked for (GET with a length) is node's to judge.
  if (method !== 'POST' && contentLength > 0) return 'framing';
  const lengthAt = contentLength < 0 ? bytes.length : fields.lengthAt;
  const lengthEnd = contentLength < 0 ? bytes.length : fields.lengthEnd;
  return new RequestHead({ method, target, headers, contentLength, lengthAt, lengthEnd, isLast }, bytes);
}

/** Collects header fields, with what frames the message and keeps the connection looked at on the way. */
class Fields {
  readonly headers: Record<string, string> = {};
  contentLength = -1;
  lengthAt = 0;
  lengthEnd = 0;
  isLast = false;
  private count = 0;

  add(text: string, at: number, end: number): Oddity | null {
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon >= end) return 'field';
    const name = fieldName(text.slice(at, colon));
    if (name === null) return 'field';
    if ((this.count += 1) > headersMax) return 'size';
    let from = colon + 1;
    while (isBlank(text, from)) from += 1;
    let to = end;
    while (to > from && isBlank(text, to - 1)) to -= 1;
    const value = text.slice(from, to);
    const rule = rules.get(name);
    if (rule !== undefined) {
      const oddity = rule(this, value, from);
      if (oddity !== null) return oddity;
    }
    if (name === 'content-length') return null;
    const known = this.headers[name];
    this.headers[name] = known === undefined ? value : `${known}${name === 'cookie' ? '; ' : ', '}${value}`;
    return null;
  }
}

type Rule = (fields: Fields, value: string, at: number) => Oddity | null;

const isOdd =
  (oddity: Oddity): Rule =>
  () =>
    oddity;

const once =
  (name: string): Rule =>
  ({ headers }) =>
    headers[name] === undefined ? null : 'repeated';

const contentLength: Rule = (fields, value, at) => {
  if (fields.contentLength >= 0 || !/^\d{1,15}$/.test(value)) return 'framing';
  fields.contentLength = Number(value);
  fields.lengthAt = at;
  fields.lengthEnd = at + value.length;
  return null;
};

const connection: Rule = (fields, value) => {
  const { headers } = fields;
  if (headers['connection'] !== undefined) return 'connection';
  const word = value.toLowerCase();
  if (word === 'keep-alive') return null;
  fields.isLast = word === 'close';
  return fields.isLast ? null : 'connection';
};

/** Node keeps the first of these and drops the others; that, too, is left to it. */
const singletons = [
  'age',
  'authorization',
  'content-type',
  'etag',
  'expires',
  'from',
  'host',
  'if-modified-since',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'retry-after',
  'server',
  'user-agent',
];

const rules: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['content-length', contentLength],
  ['transfer-encoding', isOdd('framing')],
  ['expect', isOdd('framing')],
  ['trailer', isOdd('framing')],
  ['upgrade', isOdd('connection')],
  ['proxy-connection', isOdd('connection')],
  ['connection', connection],
  ['set-cookie', isOdd('field')], // a list in node, and of no use in a request
  ['__proto__', isOdd('field')], // every object has these two already
  ['constructor', isOdd('field')],
  ...singletons.map((name): [string, Rule] => [name, once(name)]),
]);

/** POST, GET or HEAD, one space, the target, and exactly ` HTTP/1.1`. */
function readTarget(text: string, lineEnd: number): string | null {
  const space = text.charCodeAt(4) === 0x20 ? 4 : 3;
  const method = text.slice(0, space);
  if (method !== 'POST' && method !== 'GET' && method !== 'HEAD') return null;
  const end = lineEnd - version.length;
  if (text.charCodeAt(space) !== 0x20 || end <= space || !text.startsWith(version, end)) return null;
  return text.slice(space + 1, end);
}

const version = ' HTTP/1.1';

/** Origin form of visible ASCII: no whole URL, no fragment, no space. */
function isPlainTarget(target: string): boolean {
  if (target.charCodeAt(0) !== 0x2f) return false;
  for (let at = 0; at < target.length; at += 1) {
    const code = target.charCodeAt(at);
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return false;
  }
  return true;
}

/** No control character but tabs, and no line feed or carriage return without the other. */
function isClean(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte >= 0x20 ? byte !== 0x7f : byte === 0x09) continue;
    if (byte === 0x0d ? bytes[at + 1] !== 0x0a : byte !== 0x0a || bytes[at - 1] !== 0x0d) return false;
  }
  return true;
}

/** Whether what came of a head so far holds a line feed without its carriage return: its end would never be seen. */
export function hasBareLineFeed(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) {
    if (bytes[at - 1] !== 0x0d) return true;
  }
  return false;
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x09;
}

const names = new Map<string, string | null>();
const namesMax = 512;

/** In lower case; null when it is no token. Common ones are remembered. */
function fieldName(raw: string): string | null {
  const known = names.get(raw);
  if (known !== undefined) return known;
  const name = httpToken.test(raw) ? raw.toLowerCase() : null;
  if (names.size < namesMax && raw.length <= 64) names.set(raw, name);
  return name;
}
