import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { StreamEnd } from '../../../domain/resilience/stream-end.ts';
import { endsInOpenChoice } from '../../../domain/sse/open-choice.ts';
import { toldUsage } from '../../../gateway/usage/told-usage.ts';

const event = (fields: object) => Buffer.from(`data: ${JSON.stringify(fields)}\n\n`);
const choice = (reason: string | null, more: object = {}) => ({
  choices: [{ index: 0, delta: { content: 'x' }, logprobs: null, finish_reason: reason, ...more }],
});

describe('a piece that ends in a choice that goes on', () => {
  test.each([
    ['a chunk of text', event({ id: 'a', ...choice(null) }), true],
    ['several', Buffer.concat([event(choice(null)), event(choice(null))]), true],
    ['the end alone', Buffer.from('"finish_reason":null}]}\n\n'), true],
    ['less than that', Buffer.from('finish_reason":null}]}\n\n'), false],
    ['nothing', Buffer.alloc(0), false],
    ['a reason', event(choice('stop')), false],
    ['a usage behind it', event({ ...choice(null), usage: { total_tokens: 1 } }), false],
    ['no usage behind it', event({ ...choice(null), usage: null }), false],
    ['a field behind the reason', event(choice(null, { matched_stop: null })), false],
    ['spaces', Buffer.from('data: {"choices": [{"finish_reason": null}]}\n\n'), false],
    ['CRLF', Buffer.from('data: {"choices":[{"finish_reason":null}]}\r\n\r\n'), false],
    ['an event that goes on', Buffer.from('data: {"choices":[{"finish_reason":null}]}\n'), false],
    ['a text that sounds so', event({ text: '"finish_reason":null}]}' }), false],
    ['the last word', Buffer.from('data: [DONE]\n\n'), false],
  ])('%s', (_name, piece, isOpen) => {
    expect(endsInOpenChoice(piece)).toBe(isOpen);
  });

  test('is one exactly where its last event has no reason and nothing behind it, whatever the texts', () => {
    const content = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('"usage":{}', '"finish_reason":null}]}\n\n', '"finish_reason":"stop"', '\\"'),
    );
    const chunk = fc.record({
      content,
      reason: fc.constantFrom(null, null, 'stop', '"finish_reason":null}]}'),
      more: fc.constantFrom({}, {}, { usage: null }, { usage: { total_tokens: 1 } }),
    });
    fc.assert(
      fc.property(fc.array(chunk, { minLength: 1, maxLength: 4 }), (chunks) => {
        const pieces = chunks.map((each) =>
          event({ ...choice(each.reason, { delta: { content: each.content } }), ...each.more }),
        );
        const last = chunks.at(-1);
        const isOpen = last?.reason === null && Object.keys(last.more).length === 0;
        expect(endsInOpenChoice(Buffer.concat(pieces))).toBe(isOpen);
        if (isOpen) expect(toldUsage(pieces.at(-1) ?? Buffer.alloc(0))).toBe(-1);
      }),
      { numRuns: 500 },
    );
  });

  test('follows a reason as text does: the stream goes on', () => {
    const end = new StreamEnd(1);
    for (const piece of [event(choice('stop')), event(choice(null)), event(choice(null))]) end.pass(piece);
    expect(end.isWhole).toBe(false);
  });
});
