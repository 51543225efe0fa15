import { httpToken } from '../../http-token.ts';
import type { UpstreamRequest } from '../upstream.ts';

/**
 * The request's head: nothing that a caller sends can begin a line of its own, or be read as a second request.
 * @param authority the endpoint's, for the `host` header
 * @returns null for a method, path or header that is not one line of plain bytes: such a request is not sent
 */
export function requestHead(request: UpstreamRequest, authority: string): string | null {
  const { headers, common, body, method, path } = request;
  if (!isName(method) || path.charCodeAt(0) !== slash || !isPlain(path, space + 1)) return null;
  const own = headerLines(headers);
  if (own === null) return null;
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
  if (common !== undefined) {
    common.lines ??= headerLines(common.list);
    if (common.lines === null) return null;
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
    if (!isName(name) || !isPlain(value, space)) return null;
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

const bodyMethods = new Set(['POST', 'PUT', 'PATCH']);
const slash = 0x2f;
const space = 0x20;
const tab = 0x09;

/** Names seen to be good; few are ever in use, and no more than this are kept. */
const names = new Set<string>();
const namesMax = 4096;

function isName(name: string): boolean {
  if (names.has(name)) return true;
  if (!httpToken.test(name)) return false;
  if (names.size < namesMax && name.length <= 128) names.add(name);
  return true;
}

/** No control characters but the tab, none beyond a byte (U+010A would be cut to a line feed), none below `lowest`. */
function isPlain(text: string, lowest: number): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < lowest ? code !== tab || lowest !== space : code === 0x7f || code > 0xff) return false;
  }
  return true;
}
