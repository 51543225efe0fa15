import type { HeaderFields } from '../../header-fields.ts';
import { ToldHeads } from '../../told-head.ts';

/**
 * Reads the head of a response, strictly (RFC 9112): what two parties could read in two ways is refused, since the
 * next response on the connection would be somebody else's. So: CRLF alone ends a line, no folded lines, no space
 * before the colon, at most one content-length, none beside transfer-encoding, and `chunked` is the only coding.
 */
export interface ResponseHead {
  readonly status: number;
  /** Lower-case names; a repeated header is an array. One object may be given for many responses: never change it. */
  readonly headers: HeaderFields;
  /** -1: not said. */
  readonly contentLength: number;
  readonly isChunked: boolean;
  /** The connection ends with this response. */
  readonly isLast: boolean;
  /** How long the server keeps an idle connection, where it says so; else Infinity. */
  readonly keepAliveMs: number;
  /** For who passes it on. */
  readonly told: ToldHeads;
}

/** @returns the head, or why it is none (a code) */
export function parseResponseHead(text: string, countMax: number): ResponseHead | string {
  if (!wellFormed.test(text)) return 'BAD_HEAD';
  const headers: Record<string, string | string[] | undefined> = {};
  let from = text.indexOf('\r\n') + 2;
  let count = 0;
  while (from < text.length) {
    const end = text.indexOf('\r\n', from);
    const colon = text.indexOf(':', from);
    count += 1;
    if (count > countMax) return 'TOO_MANY_HEADERS';
    const name = text.slice(from, colon).toLowerCase();
    const value = trimmed(text, colon + 1, end);
    const known = headers[name];
    if (known === undefined || !Object.hasOwn(headers, name)) headers[name] = value;
    else if (typeof known === 'string') headers[name] = [known, value];
    else known.push(value);
    from = end + 2;
  }
  return framed(text, headers);
}

const wellFormed =
  /^HTTP\/1\.[01] [1-5]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/;

/** Without the spaces and tabs around it, and nothing else: other blanks are the value's own. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function framed(text: string, headers: Record<string, string | string[] | undefined>): ResponseHead | string {
  const isOld = text.charCodeAt(7) === 0x30; // HTTP/1.0
  const length = headers['content-length'];
  const coding = headers['transfer-encoding'];
  if (length !== undefined && (typeof length !== 'string' || !/^\d{1,15}$/.test(length)))
    return 'BAD_CONTENT_LENGTH';
  if (coding !== undefined) {
    if (length !== undefined) return 'LENGTH_AND_ENCODING';
    if (isOld || typeof coding !== 'string' || coding.toLowerCase() !== 'chunked')
      return 'BAD_TRANSFER_ENCODING';
  }
  return {
    status: Number(text.slice(9, 12)),
    headers,
    contentLength: length === undefined ? -1 : Number(length),
    isChunked: coding !== undefined,
    isLast: endsConnection(headers['connection'], isOld),
    keepAliveMs: keepAliveMs(headers['keep-alive']),
    told: new ToldHeads(),
  };
}

function endsConnection(value: string | string[] | undefined, isOld: boolean): boolean {
  if (value === undefined) return isOld;
  const tokens = String(value)
    .toLowerCase()
    .split(/[\s,]+/);
  return tokens.includes('close') || (isOld && !tokens.includes('keep-alive'));
}

function keepAliveMs(value: string | string[] | undefined): number {
  if (value === undefined) return Infinity;
  const seconds = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(String(value))?.[1];
  return seconds === undefined ? Infinity : Number(seconds) * 1000;
}
