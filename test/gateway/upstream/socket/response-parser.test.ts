import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ResponseParser } from '../../../../gateway/upstream/socket/response-parser.ts';
import type { ResponseHead } from '../../../../gateway/upstream/socket/response-head.ts';

interface Read {
  status: number;
  body: string;
  /** whole, garbage:CODE, or open */
  end: string;
  pieces: number;
  hasMore: boolean;
  head: ResponseHead | null;
}

const memo = () => ({ bytes: Buffer.alloc(0), head: null });

/** What earlier reads left in the buffer, behind what was read: it must not matter. */
const rests = Buffer.from('\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n');

/** Reads a response that comes in these pieces; each is overwritten once it was read, as a shared buffer would be. */
function read(pieces: readonly Buffer[], own = memo(), isHead = false): Read & { finish: () => boolean } {
  const out: Read = { status: 0, body: '', end: 'open', pieces: 0, hasMore: false, head: null };
  let isOver = false;
  const still = (isEnd = false) => {
    if (out.end !== 'open') throw new Error(`called after ${out.end}`);
    if (isOver && !isEnd) throw new Error('the last piece was not the last');
  };
  const expectEnd = () => {
    if (isOver && out.end !== 'whole') throw new Error('no end came at once after the last piece');
  };
  const parser = new ResponseParser(
    {
      onHead: (head) => {
        still();
        out.status = head.status;
        out.head = head;
      },
      onBody: (bytes, isLast) => {
        still();
        isOver = isLast;
        if (bytes.length === 0) throw new Error('an empty piece');
        out.body += Buffer.from(bytes).toString('latin1');
        out.pieces += 1;
      },
      onWhole: (hasMore) => {
        still(true);
        out.end = 'whole';
        out.hasMore = hasMore;
      },
      onGarbage: (code) => {
        still();
        out.end = `garbage:${code}`;
      },
    },
    { headBytesMax: 4096, headersMax: 50 },
    own,
  );
  parser.expect(isHead);
  for (const piece of pieces) {
    if (out.end !== 'open') break;
    const bytes = Buffer.concat([piece, rests]);
    parser.execute(bytes, piece.length);
    expectEnd();
    bytes.fill(0xdb);
  }
  return Object.assign(out, { finish: () => parser.finish() });
}

const line = (text: string) => Buffer.from(text, 'latin1');
const chunked = (payloads: readonly string[], trailers = '') =>
  payloads.map((payload) => `${payload.length.toString(16)}\r\n${payload}\r\n`).join('') +
  `0\r\n${trailers}\r\n`;
const event = (n: number) => `data: {"choices":[{"delta":{"content":"token ${n}"}}]}\n\n`;
const samples: Record<string, { response: Buffer; body: string }> = {
  'a length': {
    response: line(
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"ok":"yes!"}',
    ),
    body: '{"ok":"yes!"}',
  },
  chunks: {
    response: line(
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x="y"\r\nhello\r\n${chunked(['x', 'a'.repeat(300)], 'x-sum: 1\r\n')}`,
    ),
    body: `hellox${'a'.repeat(300)}`,
  },
  events: {
    response: line(
      `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${chunked([event(1), event(2), 'data: [DONE]\n\n'])}`,
    ),
    body: `${event(1)}${event(2)}data: [DONE]\n\n`,
  },
  'informational heads before': {
    response: line(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\na: b\r\n\r\nHTTP/1.1 201 Made\r\ncontent-length: 2\r\n\r\nok',
    ),
    body: 'ok',
  },
};

describe.each(Object.entries(samples))('a response with %s', (_name, { response, body }) => {
  test('is the same wherever it is split', () => {
    for (let k = 0; k <= response.length; k += 1) {
      const got = read([response.subarray(0, k), response.subarray(k)]);
      expect([got.end, got.body, got.hasMore]).toEqual(['whole', body, false]);
    }
    const bytes = [...response].map((byte) => Buffer.from([byte]));
    expect(read(bytes)).toMatchObject({ end: 'whole', body, hasMore: false });
  });

  test('is the same in any pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: response.length }), { maxLength: 12 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), response.length];
        const pieces = at.slice(1).map((to, i) => response.subarray(at[i], to));
        expect(read(pieces.filter((piece) => piece.length > 0))).toMatchObject({ end: 'whole', body });
      }),
    );
  });

  test('is never whole when it is cut, at whichever byte', () => {
    for (let k = 0; k < response.length; k += 1) {
      const got = read([response.subarray(0, k)]);
      expect(got.end).toBe('open');
      expect(got.finish()).toBe(false);
      expect(body.startsWith(got.body)).toBe(true);
    }
  });

  test('with any other byte at any place ends as whole or as garbage, or waits, and nothing is called after', () => {
    fc.assert(
      fc.property(fc.nat(response.length - 1), fc.nat(255), fc.nat(response.length), (at, byte, cut) => {
        const spoilt = Buffer.from(response);
        spoilt[at] = byte;
        const got = read([spoilt.subarray(0, cut), spoilt.subarray(cut)].filter((piece) => piece.length > 0));
        expect(got.end).toMatch(/^(whole|open|garbage:[A-Z_]+)$/);
        const isBodiless = got.status === 204 || got.status === 304;
        if (got.end === 'whole' && !isBodiless && got.head!.contentLength >= 0)
          expect(got.body).toHaveLength(got.head!.contentLength);
      }),
      { numRuns: 2_000 },
    );
  });

  test('tells of bytes behind its end', () => {
    expect(read([Buffer.concat([response, line('H')])])).toMatchObject({ end: 'whole', body, hasMore: true });
  });
});

describe('the response parser', () => {
  const ok = 'HTTP/1.1 200 OK\r\n';
  test.each([
    ['two lengths', `${ok}content-length: 2\r\ncontent-length: 2\r\n\r\nab`],
    ['lengths in a list', `${ok}content-length: 2, 2\r\n\r\nab`],
    ['a length with a sign', `${ok}content-length: +2\r\n\r\nab`],
    ['a length in hexadecimal', `${ok}content-length: 0x2\r\n\r\nab`],
    ['an empty length', `${ok}content-length:\r\n\r\nab`],
    ['a length past what a number holds', `${ok}content-length: 99999999999999999999\r\n\r\nab`],
    ['a length and an encoding', `${ok}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['another encoding', `${ok}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['two encodings', `${ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['identity', `${ok}transfer-encoding: identity\r\n\r\nab`],
    ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a folded line', `${ok}x: a\r\n b\r\n\r\n`],
    ['a space before the colon', `${ok}content-length : 2\r\n\r\nab`],
    ['a line without colon', `${ok}hello\r\n\r\n`],
    ['no name', `${ok}: x\r\n\r\n`],
    ['NUL in a value', `${ok}x: a\0b\r\n\r\n`],
    ['a carriage return in a value', `${ok}x: a\rb\r\n\r\n`],
    ['a bare line feed', `${ok}x: a\ny: b\r\n\r\n`],
    ['bare line feeds alone', 'HTTP/1.1 200 OK\n\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status beyond', 'HTTP/1.1 600 What\r\n\r\n'],
    ['an upgrade that nobody asked for', 'HTTP/1.1 101 Switching\r\n\r\n'],
    ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n'],
    ['another protocol', 'SSH-2.0-x\r\n'],
    ['TLS', '\x15\x03\x01\x00\x02\x02\x46'],
    ['too many headers', `${ok}${'x: y\r\n'.repeat(51)}\r\n`],
    ['a head too large', `${ok}x: ${'y'.repeat(5_000)}`],
    ['a chunk size too long', `${ok}transfer-encoding: chunked\r\n\r\n1234567890abc\r\n`],
    ['a chunk longer than its size', `${ok}transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n`],
    ['a negative chunk size', `${ok}transfer-encoding: chunked\r\n\r\n-1\r\n\r\n`],
    ['a chunk extension without end', `${ok}transfer-encoding: chunked\r\n\r\n1;${'x'.repeat(5_000)}`],
    ['trailers without end', `${ok}transfer-encoding: chunked\r\n\r\n0\r\n${'x: y\r\n'.repeat(5_000)}`],
    ['a chunk size with a bare line feed', `${ok}transfer-encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n`],
  ])('takes %s for garbage, at once or byte by byte', (_name, response) => {
    expect(read([line(response)]).end).toMatch(/^garbage:/);
    expect(read([...line(response)].map((byte) => Buffer.from([byte]))).end).toMatch(/^garbage:/);
  });

  test('hands many chunks of one read on as one piece', () => {
    const payloads = Array.from({ length: 40 }, (_, n) => event(n));
    const got = read([line(`${ok}transfer-encoding: chunked\r\n\r\n${chunked(payloads)}`)]);
    expect(got).toMatchObject({ end: 'whole', body: payloads.join(''), pieces: 1 });
  });

  test('reads any payload in any chunks and any pieces', () => {
    const payload = fc
      .uint8Array({ minLength: 1, maxLength: 40 })
      .map((bytes) => Buffer.from(bytes).toString('latin1'));
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 20 }), fc.integer({ min: 1, max: 50 }), (payloads, step) => {
        const all = line(`${ok}transfer-encoding: chunked\r\n\r\n${chunked(payloads)}`);
        const pieces: Buffer[] = [];
        for (let at = 0; at < all.length; at += step) pieces.push(all.subarray(at, at + step));
        const got = read(pieces);
        expect([got.end, got.body]).toEqual(['whole', payloads.join('')]);
        expect(got.pieces).toBeLessThanOrEqual(pieces.length);
      }),
    );
  });

  test('an answer to HEAD, 204 and 304 have no body, whatever they say of one', () => {
    for (const head of [
      'HTTP/1.1 204 No\r\n',
      'HTTP/1.1 304 Same\r\ncontent-length: 7\r\n',
      'HTTP/1.1 304 Same\r\ntransfer-encoding: chunked\r\n',
    ])
      expect(read([line(`${head}\r\n`)])).toMatchObject({ end: 'whole', body: '', hasMore: false });
    expect(read([line(`${ok}content-length: 7\r\n\r\n`)], memo(), true)).toMatchObject({
      end: 'whole',
      body: '',
    });
  });

  test('without length and chunks, the body lasts until the close', () => {
    const got = read([line(`${ok}\r\nab`), line('cd')]);
    expect(got).toMatchObject({ end: 'open', body: 'abcd' });
    expect(got.finish()).toBe(true);
    expect(got.end).toBe('whole');
  });

  test('gives the same head for the same words, and another for others', () => {
    const own = memo();
    const first = read([line(`${ok}x: 1\r\ncontent-length: 0\r\n\r\n`)], own).head;
    expect(read([line(`${ok}x: 1\r\ncontent-length: 0\r\n\r\n`)], own).head).toBe(first);
    const other = read([line(`${ok}x: 2\r\ncontent-length: 1\r\n\r\na`)], own);
    expect([other.head!.headers['x'], other.body]).toEqual(['2', 'a']);
  });

  test('what was remembered of a head never changes what another one says', () => {
    const value = fc.constantFrom('1', '12', '', 'close');
    const one = fc.record({ x: value, body: fc.constantFrom('', 'a', 'bc'), cut: fc.nat(60) });
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 8 }), (responses) => {
        const own = memo();
        for (const { x, body, cut } of responses) {
          const bytes = line(`${ok}x: ${x}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
          const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)].filter((piece) => piece.length > 0);
          const got = read(pieces, own);
          expect([got.end, got.body, got.head!.headers['x'], got.hasMore]).toEqual(['whole', body, x, false]);
        }
      }),
    );
  });

  test.each([
    ['', false, Infinity],
    ['connection: close\r\n', true, Infinity],
    ['Connection: Keep-Alive, Close\r\n', true, Infinity],
    ['keep-alive: timeout=5, max=100\r\n', false, 5_000],
  ])('reads from %p how long the connection lasts', (headers, isLast, keepAliveMs) => {
    expect(read([line(`${ok}${headers}content-length: 0\r\n\r\n`)]).head).toMatchObject({
      isLast,
      keepAliveMs,
    });
  });

  test('keeps values byte for byte but for the blanks around them', () => {
    const { head } = read([line(`${ok}x: \t caf\xe9 \xa0 \r\n__proto__: a\r\ncontent-length: 0\r\n\r\n`)]);
    expect(head!.headers['x']).toBe('caf\xe9 \xa0');
  });
});
