import { expect, test } from '@jest/globals';
import { isEventStream, valueOf, without } from '../../gateway/flat-headers.ts';

const headers = [
  'Content-Type',
  'text/event-stream; charset=utf-8',
  'Set-Cookie',
  'a',
  'set-cookie',
  'b',
  'x',
  '',
];

test.each([
  ['content-type', 'text/event-stream; charset=utf-8'],
  ['set-cookie', 'a'],
  ['x', ''],
  ['a', undefined], // a value is no name
  ['y', undefined],
])('the value of %s is %j', (name, value) => {
  expect(valueOf(headers, name)).toBe(value);
});

test('names are taken out with their values, and every time that they come', () => {
  expect(without(headers, ['set-cookie', 'a'])).toEqual([
    'Content-Type',
    'text/event-stream; charset=utf-8',
    'x',
    '',
  ]);
  expect(without(['alone'], [])).toEqual([]);
});

test.each([
  [headers, true],
  [['content-type', 'application/json'], false],
  [['text/event-stream', 'content-type'], false],
  [[], false],
])('%j is a stream of events: %s', (given, is) => {
  expect(isEventStream(given)).toBe(is);
});
