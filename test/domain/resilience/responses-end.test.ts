import { expect, test } from '@jest/globals';
import { ResponsesEnd } from '../../../domain/resilience/responses-end.ts';

const event = (type: string, more: object = {}) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
const delta = (text: string) => event('response.output_text.delta', { delta: text });

test.each([
  ['nothing', [], false],
  ['text alone', [event('response.created'), delta('a')], false],
  ['that it is completed', [delta('a'), event('response.completed')], true],
  ['that it failed', [delta('a'), event('response.failed')], true],
  ['that it is incomplete', [event('response.incomplete')], true],
  ['that it was cancelled', [event('response.cancelled')], true],
  ['an error', [delta('a'), event('error', { message: 'no' })], true],
  [
    'its last event in the JSON alone',
    ['data: {"sequence_number": 3, "type": "response.completed"}\n\n'],
    true,
  ],
  ['an error in the JSON alone', ['data: {"type":"error","message":"no"}\n\n'], true],
  ['its last event with CRLF', ['event: response.completed\r\ndata: {}\r\n\r\n'], true],
  ['OpenAI’s old last word', [delta('a'), 'data: [DONE]\n\n'], true],
  ['text that sounds like it', [delta('event: response.completed\n"type":"response.completed"')], false],
  ['a part of it that is completed', [event('response.output_item.done', { status: 'completed' })], false],
  [
    'a piece of an item that is an error',
    [event('response.output_item.done', { item: { type: 'error' } })],
    false,
  ],
  [
    'its begin, with metadata of the request that sound like its end',
    [event('response.created', { response: { metadata: { type: 'response.completed' } } })],
    false,
  ],
  [
    'the same in the JSON alone',
    ['data: {"type":"response.created","response":{"metadata":{"type":"response.completed"}}}\n\n'],
    false,
  ],
  [
    'its last event behind another in one chunk',
    [`${delta('a')}data: {"response":{"type":"x"},"type":"response.completed"}\n\n`],
    true,
  ],
  [
    'its last event by a name that names nothing',
    ['event: message\ndata: {"type":"response.failed"}\n\n'],
    true,
  ],
  ['something that is no JSON, and sounds like it', ['data: "type":"response.completed"\n\n'], false],
  ['text that ends in the old last word', [delta('[DONE]')], false],
] as const)('a stream that says %s', (_what, passed, isDone) => {
  const end = new ResponsesEnd();
  for (const text of passed) end.pass(new TextEncoder().encode(text), false);
  expect([end.isDone, end.isWhole]).toEqual([isDone, isDone]);
});

test('numbers the event that would come next, whatever a text says', () => {
  const end = new ResponsesEnd();
  const pass = (number: number, text: string) => {
    end.pass(
      new TextEncoder().encode(event('response.output_text.delta', { delta: text, sequence_number: number })),
      false,
    );
    return end.next;
  };
  expect([end.next, pass(0, 'a'), pass(1, '"sequence_number":9'), pass(41, 'b')]).toEqual([0, 1, 2, 42]);
});

test('a last event in pieces counts with its last piece', () => {
  const end = new ResponsesEnd();
  const [begin, rest] = ['event: response.completed\ndata: {"type":"response.completed","x":"', 'yyy"}\n\n'];
  end.pass(new TextEncoder().encode(begin), true);
  expect(end.isDone).toBe(false);
  end.pass(new TextEncoder().encode(rest), false);
  expect(end.isDone).toBe(true);
});

test.each([
  ['the middle of a text', '"type":"response.completed"}'],
  ['its line', 'event: response.completed\n'],
  ['the old last word', '[DONE]'],
])('a long event that is no last one is none in pieces, where one begins with %s', (_what, piece) => {
  const end = new ResponsesEnd();
  const pass = (text: string, isPiece: boolean) => {
    end.pass(new TextEncoder().encode(text), isPiece);
  };
  pass('event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"', true);
  pass(`x${piece}`, true);
  pass(piece, true);
  pass('"}\n\n', false);
  expect(end.isDone).toBe(false);
  pass(event('response.completed'), false);
  expect(end.isDone).toBe(true);
});

test('a last event in pieces is known by its JSON, where the type comes first', () => {
  const end = new ResponsesEnd();
  end.pass(new TextEncoder().encode('data: {"type": "response.completed","x":"'), true);
  end.pass(new TextEncoder().encode('yyy"}\n\n'), false);
  expect(end.isDone).toBe(true);
});
