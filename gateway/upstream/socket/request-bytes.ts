import { flat } from '../../flat-text.ts';
import { httpToken, httpValue } from '../../http-token.ts';
import type { UpstreamRequest } from '../upstream.ts';

/**
 * The first lines of an endpoint's requests: method, path and host. One request mostly begins as the one before it did,
 * and then nothing is checked or put together.
 */
export class RequestStart {
  private readonly authority: string;
  private method = '';
  private path = '';
  private text: string | null = null;
  private isFlat = false;

  /** @param authority the endpoint's, for the `host` header */
  constructor(authority: string) {
    this.authority = authority;
  }

  /** @returns null for a method or path that is not one line of plain bytes */
  of(method: string, path: string): string | null {
    const known = this.text;
    if (known !== null && path === this.path && method === this.method) {
      if (this.isFlat) return known;
      this.isFlat = true; // not before: paths may differ each time
      return (this.text = flat(known));
    }
    if (!isName(method) || !plainPath.test(path)) return null;
    this.method = method;
    this.path = path;
    this.isFlat = false;
    return (this.text = `${method} ${path} HTTP/1.1\r\nhost: ${this.authority}\r\n`);
  }
}

/**
 * The request's head: nothing that a caller sends can begin a line of its own, or be read as a second request.
 * @param start of the endpoint
 * @returns null for a method, path or header that is not one line of plain bytes: such a request is not sent
 */
export function requestHead(request: UpstreamRequest, start: RequestStart): string | null {
  const { headers, common, body, method } = request;
  let text = start.of(method, request.path);
  const own = headerLines(headers);
  if (text === null || own === null) return null;
  if (common !== undefined) {
    if (common.lines === null) {
      const lines = headerLines(common.list);
      if (lines === null) return null;
      common.lines = flat(lines);
    }
    text += common.lines;
  }
  text += own;
  if (body !== null) return `${text}content-length: ${body.length}\r\n\r\n`;
  return text + (bodyMethods.has(method) ? 'content-length: 0\r\n\r\n' : '\r\n');
}

/** @returns null when one of them would not be a line of its own */
function headerLines(headers: readonly string[]): string | null {
  let text = '';
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    if (!isName(name) || !httpValue.test(value)) return null;
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

const bodyMethods = new Set(['POST', 'PUT', 'PATCH']);
/** As the value of a header, and without blanks. */
const plainPath = /^\/[\x21-\x7e\x80-\xff]*$/;

/** Names seen to be good; few are ever in use, and no more than this are kept. */
const names = new Set<string>();
const namesMax = 4096;

function isName(name: string): boolean {
  if (names.has(name)) return true;
  if (!httpToken.test(name)) return false;
  if (names.size < namesMax && name.length <= 128) names.add(name);
  return true;
}
