import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { WholeEvents, endsWithDone, wholeEventsLength } from '../../../domain/sse/whole-events.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (all: readonly Uint8Array[]) => Buffer.concat(all).toString();

describe('WholeEvents', () => {
  test('whatever the chunks, what comes out is the stream, cut between events only', () => {
    const event = fc.record({
      data: fc.string({ unit: 'grapheme', maxLength: 20 }).map((value) => JSON.stringify(value)),
      end: fc.constantFrom('\n\n', '\r\n\r\n'),
    });
    fc.assert(
      fc.property(
        fc.array(event),
        fc.array(fc.nat(12), { minLength: 1 }),
        fc.string(),
        (events, sizes, tail) => {
          const stream = bytes(events.map(({ data, end }) => `data: ${data}${end}`).join(''));
          const rest = tail.replaceAll(/[\r\n]/g, '');
          const all = Buffer.concat([stream, bytes(rest)]);
          const reader = new WholeEvents(1_000_000);
          const out: Uint8Array[] = [];
          for (let at = 0, turn = 0; at < all.length; turn += 1) {
            const size = 1 + (sizes[turn % sizes.length] ?? 0);
            const chunk = Buffer.from(all.subarray(at, at + size));
            const whole = reader.push(chunk);
            if (whole !== null) {
              expect(wholeEventsLength(whole)).toBe(whole.length);
              out.push(Buffer.from(whole));
            }
            chunk.fill(0); // the connection uses its bytes again
            at += size;
          }
          expect(text(out)).toBe(Buffer.from(stream).toString());
          expect(Buffer.from(reader.takeRest() ?? []).toString()).toBe(rest);
          expect(reader.takeRest()).toBeNull();
        },
      ),
    );
  });

  test('an event beyond the bound goes on in pieces, so that nothing is kept without end', () => {
    const reader = new WholeEvents(10);
    expect(reader.push(bytes('data: 1'))).toBeNull();
    expect(Buffer.from(reader.push(bytes('234567')) ?? []).toString()).toBe('data: 1234567');
    expect(reader.isWithin).toBe(true);
    expect(Buffer.from(reader.push(bytes('8\n\n')) ?? []).toString()).toBe('8\n\n');
    expect(reader.isWithin).toBe(false);
  });

  test.each(['\n\n', '\r\n\r\n'])(
    'an event beyond the bound ends where it ends, wherever its chunks are cut (%j)',
    (end) => {
      const event = `data: 1234567890${end}`;
      for (let cut = 11; cut < event.length; cut += 1) {
        const reader = new WholeEvents(10);
        const out = [event.slice(0, cut), event.slice(cut)].map((part) => reader.push(bytes(part)));
        const all = Buffer.concat(out.map((part) => part ?? new Uint8Array(0)));
        expect([cut, all.toString(), reader.isWithin]).toEqual([cut, event, false]);
        expect(reader.takeRest()).toBeNull();
      }
    },
  );

  test('no run of carriage returns is kept beyond the bound', () => {
    const reader = new WholeEvents(10);
    expect(reader.push(bytes('\r'.repeat(100)))).toHaveLength(97);
  });
});

test.each([
  ['data: [DONE]\n\n', true],
  ['data: [DONE]\r\n\r\n', true],
  ['data: [DONE]', true],
  ['data: {"a":1}\n\n', false],
  ['\n\n', false],
  ['', false],
  ['DONE]', false],
])('the last word in %j: %s', (stream, isDone) => {
  expect(endsWithDone(bytes(stream))).toBe(isDone);
});

test.each([
  ['data: 1\n\ndata', 0, 9],
  ['data: 1\n\ndata', 8, 9],
  ['data: 1\n\ndata', 9, 0],
  ['data: 1\r\n\r\ndata', 10, 11],
  ['data: 1\r\n\r\ndata', 11, 0],
])('of %j, looked at from byte %i on, %i bytes are whole', (stream, from, length) => {
  expect(wholeEventsLength(bytes(stream), from)).toBe(length);
});
