import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { countEvents } from '../../../gateway/usage/count-events.ts';

const count = (text: string) => countEvents(Buffer.from(text));

describe('events that an estimate counts', () => {
  test.each([
    ['one', 'data: {"a":1}\n\n', 1],
    ['one without a space', 'data:{"a":1}\n\n', 1],
    ['several', 'data: 1\n\ndata: 2\n\ndata: 3\n\n', 3],
    ['with CRLF', 'data: 1\r\n\r\ndata: 2\r\n\r\n', 2],
    ['with names', 'event: a\ndata: 1\n\nevent: b\ndata: 2\n\n', 2],
    ['the last word alone', 'data: [DONE]\n\n', 0],
    ['the last word behind another', 'data: 1\n\ndata: [DONE]\n\n', 1],
    ['a comment', ': ping\n\n', 0],
    ['an event behind a comment', ': ping\n\ndata: 1\n\n', 1],
    ['a text that speaks of data: and more data:', 'data: {"content":"data: x, data: y"}\n\n', 1],
    ['the end of one and the next', '"x"}\n\ndata: 2\n\n', 1],
    ['a line end alone', '\n', 0],
    ['its end alone', '\n\n', 0],
    ['nothing', '', 0],
  ])('%s', (_name, text, events) => {
    expect(count(text)).toBe(events);
  });

  test('are as many as lines begin with data, however long, whatever the lines are', () => {
    const line = fc.oneof(
      fc.constantFrom('data: 1', 'data:', 'data', 'event: data:', ': data:', '', 'data: data: x', 'xdata: 1'),
      fc.integer({ min: 0, max: 3_000 }).map((length) => `data: ${'x'.repeat(length)}`),
    );
    const end = fc.constantFrom('\n', '\n\n', '\r\n', '\r\n\r\n');
    fc.assert(
      fc.property(fc.array(fc.tuple(line, end), { maxLength: 8 }), (lines) => {
        const text = lines.flat().join('');
        expect(count(text)).toBe(text.match(/^data:/gm)?.length ?? 0);
      }),
      { numRuns: 500 },
    );
  });

  test('are found wherever their bytes lie in a larger memory', () => {
    const text = 'data: 1\n\n';
    const all = Buffer.from(`data: 0\n\n${text}data: 2\n\n`);
    expect(countEvents(new Uint8Array(all.buffer, all.byteOffset + 9, text.length))).toBe(1);
  });
});
