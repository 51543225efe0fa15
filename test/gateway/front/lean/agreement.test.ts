import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { dial, facts, readerOf, startFront } from '../../../fixtures/front/front.ts';
import type { TestFront } from '../../../fixtures/front/front.ts';

/**
 * What two readers take for a request must be the same: where they differ, requests are smuggled. The same bytes go
 * to a front with the own reader and to one where node reads all; both tell what they were asked.
 */
const limits = { requestReadMs: 100, headReadMs: 100, keepAliveMs: 400, lingerMs: 50 };
/** On a busy machine one of two readers may run out of time alone: a difference counts when it is there without haste, too. */
const patient = { requestReadMs: 3_000, headReadMs: 3_000, keepAliveMs: 12_000, lingerMs: 1_500 };
let own: TestFront;
let node: TestFront;
let patientOwn: TestFront;
let patientNode: TestFront;
beforeAll(async () => {
  own = await startFront({ limits });
  node = await startFront({ limits, isLean: false });
  patientOwn = await startFront({ limits: patient });
  patientNode = await startFront({ limits: patient, isLean: false });
});
afterAll(async () => {
  for (const front of [own, node, patientOwn, patientNode]) await front.close();
});

async function expectAgreement(bytes: Buffer, cut: number): Promise<void> {
  const [ours, theirs] = await Promise.all([requestsOf(own, bytes, cut), requestsOf(node, bytes, cut)]);
  if (isDeepStrictEqual(ours, theirs)) return;
  const again = await Promise.all([requestsOf(patientOwn, bytes, cut), requestsOf(patientNode, bytes, cut)]);
  expect(again[0]).toEqual(again[1]);
}

/** Ends the talk, unless what was before it is not whole, or swallows it. */
const last = 'GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n';

async function requestsOf(front: TestFront, bytes: Buffer, cut: number): Promise<unknown[]> {
  front.seen.length = 0;
  const talking = await dial(front.port);
  await talking.write(bytes.subarray(0, cut), bytes.subarray(cut));
  await talking.closed();
  return front.seen.map((exchange) => {
    const told = facts(exchange);
    // The body's length is told by the body.
    delete (told['headers'] as Record<string, unknown>)['content-length'];
    return told;
  });
}

const odd = <T>(plain: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof(
    { weight: 12, arbitrary: fc.constant(plain) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );

const method = odd(
  'POST',
  'GET',
  'HEAD',
  'PUT',
  'DELETE',
  'OPTIONS',
  'post',
  'G\0T',
  'P(ST',
  '',
  'PRI',
  'CONNECT',
);
const target = odd(
  '/a?b=c',
  '/',
  '*',
  'http://h/x',
  '/\xe4',
  '/a b',
  '/a#b',
  '//x',
  '/%zz',
  'a',
  '',
  '/a\tb',
  '/\x7f',
);
const version = odd(
  'HTTP/1.1',
  'HTTP/1.0',
  'http/1.1',
  'HTTP/1.1 ',
  ' HTTP/1.1',
  'HTTP/2.0',
  'HTTP/1.11',
  '',
);
const host = odd(
  'Host: x',
  'host:x',
  'host : x',
  'host: x\r\nhost: y',
  '',
  'host:',
  ' host: x',
  'HOST:\tx\t',
);
const field = fc.constantFrom(
  'x-a: 1',
  'x-a: 2',
  'x-b:',
  'x-b:\t v \t',
  'X-C: \xe4\xff',
  'cookie: a=1',
  'cookie: b=2',
  'authorization: a',
  'authorization: b',
  'user-agent: c',
  'set-cookie: d',
  'connection: close',
  'connection: keep-alive',
  'Connection: Keep-Alive',
  'connection: upgrade',
  'connection: close, te',
  'proxy-connection: close',
  'keep-alive: timeout=5',
  'upgrade: h2c',
  'te: trailers',
  'trailer: x',
  'expect: 100-continue',
  'transfer-encoding: chunked',
  'transfer-encoding: identity',
  'transfer-encoding: gzip, chunked',
  'transfer-encoding: chunked, identity',
  'transfer-encoding: xchunked',
  'Transfer-Encoding : chunked',
  'transfer-encoding:\x0bchunked',
  'transfer_encoding: chunked',
  'content-length: 0',
  'content-length: 3, 3',
  'content-length: +3',
  'content-length: -3',
  'content-length: 0x3',
  'content-length: 3 3',
  'content-length: 3;',
  'content-length:',
  'content-length : 3',
  'content_length: 3',
  'content-length: 99999999999999999999',
  'content-length: 18446744073709551619',
  'x: a\0b',
  'x: a\x7fb',
  'x: a\x01',
  'x: a\r',
  'x: a\nx-n: 1',
  'x: a\rx-r: 1',
  ' folded',
  '\tfolded',
  'nothing',
  ': empty',
  'a b: c',
  'a(b): c',
  'n\xe4me: c',
  '__proto__: c',
  'constructor: c',
  'hasOwnProperty: c',
);
const fields = fc.array(field, { maxLength: 3 });
const length = odd('right', 'none', 'short', 'long', 'twice', 'zeros', 'space', 'first');
const lineEnd = odd('\r\n', '\n', '\r', '\r\r\n', '\n\r\n', '\r\n\r\n');
const body = fc.oneof(
  fc.constantFrom('', 'abc', '0\r\n\r\n', '3\r\nabc\r\n0\r\n\r\n', 'GET /body HTTP/1.1\r\nhost: x\r\n\r\n'),
  fc.string({ unit: 'binary', maxLength: 20 }).map((text) => Buffer.from(text).toString('latin1')),
);

const request = fc.record({ method, target, version, host, fields, length, lineEnd, body }).map((made) => {
  const at = made.body.length;
  const lengths: Record<string, string[]> = {
    right: [`content-length: ${at}`],
    none: [],
    short: [`content-length: ${Math.max(0, at - 1)}`],
    long: [`content-length: ${at + 1}`],
    twice: [`content-length: ${at}`, `content-length: ${at}`],
    zeros: [`content-length: 00${at}`],
    space: [`Content-Length: \t${at} `],
    first: [`content-length: 1`, `content-length: ${at}`],
  };
  const lines = [made.host, ...made.fields, ...(lengths[made.length] ?? [])].filter((line) => line !== '');
  const head = [`${made.method} ${made.target} ${made.version}`, ...lines].join('\r\n');
  return `${head}${made.lineEnd}\r\n${made.body}`;
});

const talk = fc
  .tuple(fc.array(request, { minLength: 1, maxLength: 3 }), fc.nat())
  .map(([requests, cut]): [Buffer, number] => {
    const bytes = Buffer.from(requests.join('') + last, 'latin1');
    return [bytes, cut % (bytes.length + 1)];
  });

describe('the own reader and node', () => {
  test('take the same bytes for the same requests', async () => {
    let read = 0;
    await fc.assert(
      fc.asyncProperty(talk, async ([bytes, cut]) => {
        await expectAgreement(bytes, cut);
        read += own.seen.filter((exchange) => readerOf(exchange) === 'own').length;
      }),
      { numRuns: 400 },
    );
    expect(read).toBeGreaterThan(40); // or nothing was compared
  }, 120_000);

  test('take arbitrary bytes for the same requests', async () => {
    const bits = fc.constantFrom(
      'GET ',
      'POST ',
      '/',
      ' HTTP/1.1',
      '\r\n',
      '\r',
      '\n',
      'host: x',
      'content-length: 1',
      ':',
      ' ',
      'a',
      '\0',
      '\xff',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(bits, { maxLength: 12 }), fc.nat(), async (pieces, at) => {
        const bytes = Buffer.from(pieces.join('') + last, 'latin1');
        const cut = at % (bytes.length + 1);
        await expectAgreement(bytes, cut);
      }),
      { numRuns: 200 },
    );
  }, 120_000);
});
