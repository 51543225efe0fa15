import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { EventCount } from '../../../gateway/usage/event-count.ts';

const event = (length: number) => `data: ${'x'.repeat(length - 8)}\n\n`;
const counted = (pieces: readonly string[]) => {
  const count = new EventCount();
  for (const piece of pieces) count.add(Buffer.from(piece));
  return count.count;
};
/** Events in runs, as they come in one piece. */
const runs = (lengths: fc.Arbitrary<number>) =>
  fc.array(fc.array(lengths, { minLength: 1, maxLength: 4 }), { maxLength: 60 });

describe('events of a stream, counted for an estimate', () => {
  test('are all counted, however they come together, while they are about as long', () => {
    fc.assert(
      fc.property(runs(fc.integer({ min: 90, max: 120 })), (lengths) => {
        const pieces = lengths.map((run) => run.map(event).join(''));
        expect(counted(pieces)).toBe(lengths.flat().length);
      }),
      { numRuns: 500 },
    );
  });

  test('are never counted twice, whatever their lengths, and each piece counts', () => {
    fc.assert(
      fc.property(runs(fc.integer({ min: 8, max: 4000 })), (lengths) => {
        const count = counted(lengths.map((run) => run.map(event).join('')));
        expect(count).toBeLessThanOrEqual(lengths.flat().length);
        expect(count).toBeGreaterThanOrEqual(lengths.length);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['the last word is none', [event(90), event(90), 'data: [DONE]\n\n'], 2],
    ['nor behind an event in one piece', [event(90), `${event(90)}data: [DONE]\n\n`], 2],
    ['nor is what goes on with an event', [event(90), 'data: x', 'xxx\n', '\n', event(90)], 3],
    ['nor a comment', [event(90), ': ping\n\n', event(90)], 2],
    ['lines that end with CRLF are looked through', [event(90), 'data: x\r\n\r\n'.repeat(3)], 4],
  ])('%s', (_name, pieces, events) => {
    expect(counted(pieces)).toBe(events);
  });
});
