import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SseParser, eventData } from '../../../domain/sse/sse.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const whole = (text: string) => new SseParser(1e6).push(bytes(text));

describe('server-sent events', () => {
  test.each([
    ['one event', 'data: a\n\n', [{ event: '', data: 'a' }]],
    ['a named one', 'event: x\ndata: a\n\n', [{ event: 'x', data: 'a' }]],
    ['several data lines', 'data: a\ndata: b\n\n', [{ event: '', data: 'a\nb' }]],
    ['no space after the colon', 'data:a\n\n', [{ event: '', data: 'a' }]],
    ['only one space goes', 'data:  a\n\n', [{ event: '', data: ' a' }]],
    [
      'carriage returns',
      'data: a\r\n\r\ndata: b\r\rdata: c\n\n',
      ['a', 'b', 'c'].map((data) => ({ event: '', data })),
    ],
    ['comments, ids and retries', ': hi\nid: 1\nretry: 5\ndata: a\n\n', [{ event: '', data: 'a' }]],
    ['an empty event', '\n\nevent: x\n\ndata: a\n\n', [{ event: '', data: 'a' }]],
    ['a field without a colon', 'data\n\n', [{ event: '', data: '' }]],
    ['an event that has not ended', 'data: a\n', []],
  ])('%s', (_name, text, events) => {
    expect(whole(text)).toEqual(events);
  });

  test('are the same however their bytes are cut, in characters and line ends too', () => {
    const line = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
      fc.constantFrom('', '', ': comment', 'event: é', 'data'),
    );
    const stream = fc
      .array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')))
      .map((lines) => lines.flat().join(''));
    fc.assert(
      fc.property(stream, fc.array(fc.nat()), (text, cuts) => {
        const all = bytes(text);
        const at = [0, ...cuts.map((cut) => cut % (all.length + 1)).sort((a, b) => a - b), all.length];
        const parser = new SseParser(1e6);
        const events = at.slice(1).flatMap((to, i) => parser.push(all.subarray(at[i], to)));
        // A lone CR at the very end may yet become CRLF, which changes no event.
        expect(events).toEqual(whole(text));
      }),
    );
  });

  test('that never end are refused at their bound, in one line or in many', () => {
    const parser = new SseParser(100);
    expect(() => parser.push(bytes(`data: ${'x'.repeat(101)}`))).toThrow('longer than 100 characters');
    const lines = new SseParser(100);
    expect(() => {
      for (let i = 0; i < 20; i += 1) lines.push(bytes('data: 0123456789\n'));
    }).toThrow('longer than 100 characters');
  });
});

test('data is read by line, comments and other fields aside', () => {
  const stream = ': hi\n\nevent: x\ndata: 1\n\ndata:2\r\ndata: 3\r\n\r\nid: 4\n\ndata: 5\n';
  expect(eventData(stream)).toEqual(['1', '2\n3', '5']);
});
