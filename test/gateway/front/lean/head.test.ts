import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hasBareLineFeed, parseHead } from '../../../../gateway/front/lean/head.ts';
import type { Match, RequestHead } from '../../../../gateway/front/lean/head.ts';

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const headOf = (...lines: string[]): Buffer => bytesOf(`${lines.join('\r\n')}\r\n\r\n`);
function plain(...lines: string[]): RequestHead {
  const parsed = parseHead(headOf(...lines));
  if (typeof parsed === 'string') throw new Error(`not plain: ${parsed}`);
  return parsed;
}

describe('the heads that are read here', () => {
  test('a request with a body', () => {
    const head = plain(
      'POST /v1/completions?a=1&b=? HTTP/1.1',
      'Host: x:1',
      'Content-Length: 16',
      'X-Y: \t z \t',
    );
    expect(head).toMatchObject({
      method: 'POST',
      path: '/v1/completions',
      query: '?a=1&b=?',
      headers: { host: 'x:1', 'x-y': 'z' },
      contentLength: 16,
      isLast: false,
    });
  });

  test('requests without a body', () => {
    expect(plain('GET / HTTP/1.1', 'host: x')).toMatchObject({ method: 'GET', query: '', contentLength: -1 });
    expect(plain('HEAD /v2 HTTP/1.1', 'host: x', 'connection: CLOSE')).toMatchObject({ isLast: true });
    expect(plain('POST / HTTP/1.1', 'host: x', 'connection: keep-alive')).toMatchObject({ isLast: false });
    expect(plain('GET / HTTP/1.1', 'host: x', 'content-length: 0')).toMatchObject({ contentLength: 0 });
  });

  test('repeated fields are joined as node does, cookies by semicolon', () => {
    const head = plain(
      'GET / HTTP/1.1',
      'host: x',
      'X-A: 1',
      'x-a: 2',
      'cookie: a=1',
      'Cookie: b=2',
      'x-e:',
      'x-e: 3',
    );
    expect(head.headers).toMatchObject({ 'x-a': '1, 2', cookie: 'a=1; b=2', 'x-e': ', 3' });
  });

  test('bytes beyond ASCII in values are latin1, as node reads them', () => {
    expect(plain('GET / HTTP/1.1', 'host: x', 'x: \xe4\xff').headers['x']).toBe('\xe4\xff');
  });

  test('nobody can change the headers, which other requests share', () => {
    expect(Object.isFrozen(plain('GET / HTTP/1.1', 'host: x').headers)).toBe(true);
  });

  test.each([
    ['another method', 'line', 'DELETE / HTTP/1.1', 'host: x'],
    ['a method in lower case', 'line', 'post / HTTP/1.1', 'host: x'],
    ['HTTP/1.0', 'line', 'GET / HTTP/1.0', 'host: x'],
    ['a version beyond', 'line', 'GET / HTTP/1.11', 'host: x'],
    ['no version', 'line', 'GET /', 'host: x'],
    ['a preface of HTTP/2', 'line', 'PRI * HTTP/2.0', 'host: x'],
    ['two spaces', 'line', 'GET  / HTTP/1.1', 'host: x'],
    ['a space at the end', 'line', 'GET / HTTP/1.1 ', 'host: x'],
    ['a space in the target', 'target', 'GET /a b HTTP/1.1', 'host: x'],
    ['a tab in the target', 'target', 'GET /a\tb HTTP/1.1', 'host: x'],
    ['a whole URL', 'target', 'GET http://y/ HTTP/1.1', 'host: x'],
    ['an asterisk', 'target', 'GET * HTTP/1.1', 'host: x'],
    ['a fragment', 'target', 'GET /a#b HTTP/1.1', 'host: x'],
    ['a target beyond ASCII', 'target', 'GET /\xe4 HTTP/1.1', 'host: x'],
    ['an empty target', 'line', 'GET  HTTP/1.1', 'host: x'],
    ['no host', 'host', 'GET / HTTP/1.1', 'x: y'],
    ['no field at all', 'host', 'GET / HTTP/1.1'],
    ['two hosts', 'repeated', 'GET / HTTP/1.1', 'host: x', 'Host: x'],
    ['two authorizations', 'repeated', 'GET / HTTP/1.1', 'host: x', 'authorization: a', 'authorization: b'],
    ['a space before the colon', 'field', 'GET / HTTP/1.1', 'host : x'],
    ['a folded line', 'field', 'GET / HTTP/1.1', 'host: x', ' folded: y'],
    ['a folded line by tab', 'field', 'GET / HTTP/1.1', 'host: x', '\ty'],
    ['a line without colon', 'field', 'GET / HTTP/1.1', 'host: x', 'nothing'],
    ['an empty name', 'field', 'GET / HTTP/1.1', 'host: x', ': y'],
    ['a name that is no token', 'field', 'GET / HTTP/1.1', 'host: x', 'a(b): y'],
    ['a name beyond ASCII', 'field', 'GET / HTTP/1.1', 'host: x', 'n\xe4me: y'],
    ['a name that is special to JavaScript', 'field', 'GET / HTTP/1.1', 'host: x', '__proto__: y'],
    ['a transfer coding', 'framing', 'POST / HTTP/1.1', 'host: x', 'Transfer-Encoding: chunked'],
    [
      'both lengths',
      'framing',
      'POST / HTTP/1.1',
      'host: x',
      'content-length: 1',
      'transfer-encoding: chunked',
    ],
    ['two lengths', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: 1', 'content-length: 2'],
    [
      'the same length twice',
      'framing',
      'POST / HTTP/1.1',
      'host: x',
      'content-length: 1',
      'content-length: 1',
    ],
    ['a list of lengths', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: 1, 1'],
    ['a signed length', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: +1'],
    ['a negative length', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: -1'],
    ['a length in hex', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: 0x1'],
    ['an empty length', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length:'],
    ['a length with a space', 'framing', 'POST / HTTP/1.1', 'host: x', 'content-length: 1 1'],
    ['a length beyond numbers', 'framing', 'POST / HTTP/1.1', 'host: x', `content-length: ${'9'.repeat(16)}`],
    ['a body for GET', 'framing', 'GET / HTTP/1.1', 'host: x', 'content-length: 1'],
    ['Expect', 'framing', 'POST / HTTP/1.1', 'host: x', 'expect: 100-continue'],
    ['a trailer', 'framing', 'POST / HTTP/1.1', 'host: x', 'trailer: x'],
    ['an upgrade', 'connection', 'GET / HTTP/1.1', 'host: x', 'upgrade: websocket'],
    ['Connection with more words', 'connection', 'GET / HTTP/1.1', 'host: x', 'connection: close, x'],
    [
      'two Connection fields',
      'connection',
      'GET / HTTP/1.1',
      'host: x',
      'connection: close',
      'connection: close',
    ],
    ['NUL in a value', 'bytes', 'GET / HTTP/1.1', 'host: x', 'x: a\0b'],
    ['a control character', 'bytes', 'GET / HTTP/1.1', 'host: x', 'x: a\x1fb'],
    ['DEL', 'bytes', 'GET / HTTP/1.1', 'host: x', 'x: a\x7fb'],
    ['a bare line feed', 'bytes', 'GET / HTTP/1.1', 'host: x\nx: y'],
    ['a bare carriage return', 'bytes', 'GET / HTTP/1.1', 'host: x\rx: y'],
    ['a carriage return too many', 'bytes', 'GET / HTTP/1.1\r', 'host: x'],
    [
      'very many fields',
      'size',
      'GET / HTTP/1.1',
      'host: x',
      ...Array.from({ length: 200 }, (_, at) => `x-${at}: y`),
    ],
  ])('%s is not plain', (_what, why, ...lines) => {
    expect(parseHead(headOf(...lines))).toBe(why);
  });

  test('a line feed without its carriage return is seen before the head has ended', () => {
    expect(hasBareLineFeed(bytesOf('GET / HTTP/1.1\nhost: x'))).toBe(true);
    expect(hasBareLineFeed(bytesOf('\nGET'))).toBe(true);
    expect(hasBareLineFeed(bytesOf('GET / HTTP/1.1\r\nhost: x\r'))).toBe(false);
  });
});

describe('a head that comes again', () => {
  const post = (length: number | string, path = '/a') =>
    bytesOf(`POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\nx: y\r\n\r\n`);
  const known = parseHead(post(12)) as RequestHead;
  const find = (bytes: Buffer, at = 0): Match | null => {
    const match = { bodyAt: -1, length: -1 };
    return known.matches(bytes, at, match) ? match : null;
  };

  test('is known by its bytes, whatever its length says', () => {
    for (const length of [0, 7, 12, 1234567890]) {
      const bytes = Buffer.concat([bytesOf('..'), post(length), bytesOf('body')]);
      expect(find(bytes, 2)).toEqual({ bodyAt: bytes.length - 4, length });
    }
  });

  test.each([
    ['another path', post(12, '/b')],
    ['no digits', post('')],
    ['other digits', post('1a')],
    ['a sign', post('+1')],
    ['too many digits', post('1'.repeat(16))],
    ['a space after them', post('12 ')],
    ['a missing end', post(12).subarray(0, -1)],
    ['another end', bytesOf('POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\nx: y\r\nz: 1\r\n\r\n')],
    ['nothing', Buffer.alloc(0)],
  ])('is another with %s', (_what, bytes) => {
    expect(find(bytes)).toBeNull();
  });

  test('a GET that brings a body after one that said it has none is looked at again', () => {
    const get = (length: number) => headOf('GET / HTTP/1.1', 'host: x', `content-length: ${length}`);
    const first = parseHead(get(0)) as RequestHead;
    expect(first.matches(get(0), 0, { bodyAt: 0, length: 0 })).toBe(true);
    expect(first.matches(get(3), 0, { bodyAt: 0, length: 0 })).toBe(false);
  });

  test('is taken only where parsing it would say the same', () => {
    const name = fc.constantFrom('host', 'content-length', 'x', 'content-type', 'connection');
    const value = fc.constantFrom('1', '23', 'a', '', '4 ', 'close', '007');
    const lines = fc.array(fc.tuple(name, value), { maxLength: 4 });
    const text = fc
      .tuple(fc.constantFrom('POST', 'GET'), lines, fc.string({ unit: 'binary', maxLength: 3 }))
      .map(([method, fields, rest]) =>
        bytesOf(
          `${method} / HTTP/1.1\r\nhost: x\r\n${fields.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n${rest}`,
        ),
      );
    fc.assert(
      fc.property(text, text, (one, two) => {
        const first = parseHead(one.subarray(0, one.indexOf('\r\n\r\n') + 4));
        if (typeof first === 'string') return;
        const match = { bodyAt: 0, length: 0 };
        if (!first.matches(two, 0, match)) return;
        const second = parseHead(two.subarray(0, match.bodyAt));
        if (typeof second === 'string') throw new Error(`taken, but not plain: ${second}`);
        expect(second.headers).toEqual(first.headers);
        expect([second.method, second.path, second.isLast]).toEqual([first.method, first.path, first.isLast]);
        expect(match.length).toBe(Math.max(0, second.contentLength));
      }),
      { numRuns: 2000 },
    );
  });
});
