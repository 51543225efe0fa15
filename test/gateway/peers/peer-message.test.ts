import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatMessage, parseMessage, peerLimits } from '../../../gateway/peers/peer-message.ts';

const address = fc.webUrl().map((url) => new URL(url).origin);
const key = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).filter((value) => value !== 0);
const message = fc.record({
  from: fc.string({ minLength: 1, maxLength: 16 }),
  inFlight: fc.array(fc.tuple(address, fc.nat(1e6))).map((entries) => new Map(entries)),
  isAll: fc.boolean(),
  blocks: fc
    .array(fc.tuple(address, fc.array(key, { maxLength: 50 })))
    .map((entries) => new Map(entries.map(([at, keys]) => [at, Int32Array.from(keys)]))),
});

describe('a message between gateways', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(message, (sent) => {
        expect(parseMessage(formatMessage(sent))).toEqual(sent);
      }),
    );
  });

  test('of anything else is dropped whole', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(parseMessage(text)).toBeNull();
      }),
    );
  });

  const good = { v: 1, from: 'a', inFlight: {}, isAll: true, blocks: {} };
  test.each([
    ['another version', { ...good, v: 2 }],
    ['a count below 0', { ...good, inFlight: { 'http://a': -1 } }],
    ['a count that is none', { ...good, inFlight: { 'http://a': 'many' } }],
    ['a count that no gateway has', { ...good, inFlight: { 'http://a': 1e9 } }],
    ['the mark of a free place among its keys', { ...good, blocks: { 'http://a': 'AAAAAA==' } }],
    ['a long name', { ...good, from: 'x'.repeat(65) }],
    ['a list for a map', { ...good, inFlight: [] }],
    [
      'too many blocks',
      { ...good, blocks: { a: Buffer.alloc(4 * (peerLimits.blocksMax + 1), 1).toString('base64') } },
    ],
    [
      'too many addresses',
      { ...good, inFlight: Object.fromEntries(Array.from({ length: 4_097 }, (_, at) => [`a${at}`, 1])) },
    ],
  ])('with %s is dropped', (_what, wrong) => {
    expect(parseMessage(JSON.stringify(good))).not.toBeNull();
    expect(parseMessage(JSON.stringify(wrong))).toBeNull();
  });
});
