import { expect, test } from '@jest/globals';
import { toldUsage } from '../../../gateway/usage/told-usage.ts';

test.each([
  ['no usage', 'data: {"choices":[]}\n\n', -1],
  ['one', 'data: {"usage":{"total_tokens":1}}\n\n', 7],
  ['one with space about', 'data: {"usage" : {"total_tokens":1}}\n\n', 7],
  ['null', 'data: {"usage":null}\n\n', -1],
  ['null with space about', 'data: {"usage"\t: null}\n\n', -1],
  ['null in each of several events', 'data: {"usage":null}\n\ndata: {"usage": null}\n\n', -1],
  ['null, then one', 'data: {"usage":null}\n\ndata: {"usage":{}}\n\n', 29],
  ['a text that says null', 'data: {"usage":"null"}\n\n', 7],
  ['no key', 'data: ["usage", null]\n\n', 7],
  ['the word in a text', 'data: {"text":"a \\"usage\\":{}"}\n\n', -1],
  ['a key without a value', 'data: {"usage":', 7],
])('finds where a usage is told: %s', (_, events, at) => {
  expect(toldUsage(Buffer.from(events))).toBe(at);
});

test('goes on from where it is told to', () => {
  const events = Buffer.from('{"usage":{}}{"usage":null}{"usage":[]}');
  expect(toldUsage(events, 2)).toBe(27);
});
