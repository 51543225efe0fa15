import { describe, expect, test } from '@jest/globals';
import { StreamEnd, choicesAsked } from '../../../domain/resilience/stream-end.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const piece = (index: number, finish: string | null = null) =>
  `data: ${JSON.stringify({ choices: [{ index, delta: { content: 'x' }, finish_reason: finish }] })}\n\n`;
const usage = `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 1 } })}\n\n`;
const done = 'data: [DONE]\n\n';
const ended = (choices: number, ...passed: readonly string[]) => {
  const end = new StreamEnd(choices);
  for (const each of passed) {
    const events = bytes(each);
    end.pass(events);
    events.fill(0xdb); // they held for that call alone
  }
  return { isDone: end.isDone, isWhole: end.isWhole };
};

describe('the end of a stream', () => {
  test.each([
    ['the last word', 1, [piece(0), done], { isDone: true, isWhole: true }],
    ['the last word, whatever of the choices', 2, [piece(0, 'stop'), done], { isDone: true, isWhole: true }],
    ['the last word, and a comment after it', 1, [done, ': bye\n\n'], { isDone: true, isWhole: true }],
    ['nothing', 1, [], { isDone: false, isWhole: false }],
    ['text alone', 1, [piece(0), piece(0)], { isDone: false, isWhole: false }],
    ['its reason', 1, [piece(0), piece(0, 'stop')], { isDone: false, isWhole: true }],
    ['its reason and then usage', 1, [piece(0, 'length'), usage], { isDone: false, isWhole: true }],
    [
      'its reason and usage in one',
      1,
      [piece(0), piece(0, 'stop') + usage],
      { isDone: false, isWhole: true },
    ],
    ['the reason of one of two', 2, [piece(1, 'stop'), piece(0)], { isDone: false, isWhole: false }],
    [
      'twice the reason of one of two',
      2,
      [piece(0, 'stop'), piece(0, 'stop'), usage],
      { isDone: false, isWhole: false },
    ],
    [
      'the reasons of both, long apart',
      2,
      [piece(0, 'stop'), ...Array.from({ length: 5 }, () => piece(1)), piece(1, 'length'), usage],
      { isDone: false, isWhole: true },
    ],
    [
      'the reasons of both in one event',
      2,
      [
        `data: ${JSON.stringify({
          choices: [
            { index: 0, text: '', finish_reason: 'stop' },
            { index: 1, text: '', finish_reason: 'stop' },
          ],
        })}\n\n`,
      ],
      { isDone: false, isWhole: true },
    ],
    [
      'its reason, with spaces, behind a choice that goes on',
      1,
      ['data: {"choices":[{"finish_reason":null},{"finish_reason" :\t"stop"}]}\n\n'],
      { isDone: false, isWhole: true },
    ],
    [
      'no reason, though the key is there',
      1,
      ['data: {"choices":[{"finish_reason": null}], "finish_reason" "stop"}\n\n'],
      { isDone: false, isWhole: false },
    ],
    [
      'text that looks like a reason',
      1,
      [`data: ${JSON.stringify({ choices: [{ text: '"finish_reason": "stop"' }] })}\n\n`],
      { isDone: false, isWhole: false },
    ],
  ])('that says %s (of %i choices)', (_name, choices, passed, outcome) => {
    expect(ended(choices, ...passed)).toEqual(outcome);
  });

  test('is not found in what is no JSON', () => {
    expect(ended(2, 'data: "finish_reason":"stop"\n\n', 'data: {"finish_reason":"stop"}\n\n')).toEqual({
      isDone: false,
      isWhole: false,
    });
  });
});

test.each([
  [{}, 1],
  [{ n: 3 }, 3],
  [{ n: null }, 1],
  [{ n: 'many' }, 1],
  [{ n: 0 }, 1],
  [{ prompt: 'x', n: 2 }, 2],
  [{ prompt: ['x', 'y'], n: 2 }, 4],
  [{ prompt: [1, 2, 3] }, 1],
  [{ prompt: [[1, 2], [3]] }, 2],
  [{ prompt: [] }, 1],
])('%j asks for %i choices', (fields, choices) => {
  expect(choicesAsked(fields)).toBe(choices);
});

test.each(['data: [DONE]\n\n: bye\n\n', 'data: [DONE]\r\n\r\n:\r\n\r\n', ': hi\n\ndata:[DONE]\n\n'])(
  'a comment beside the last word does not unsay it (%j)',
  (text) => {
    const end = new StreamEnd(1);
    end.pass(new TextEncoder().encode(text));
    expect(end.isDone).toBe(true);
  },
);

test('comments behind the reason why it ended are passed over', () => {
  const end = new StreamEnd(1);
  end.pass(new TextEncoder().encode('data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'));
  for (let at = 0; at < 3; at += 1) end.pass(new TextEncoder().encode(': still here\n\n'));
  expect([end.isDone, end.isWhole]).toEqual([false, true]);
});

test('a piece of an event that sounds like the last word is none', () => {
  const end = new StreamEnd(1);
  end.pass(new TextEncoder().encode('data: {"choices":[{"index":0,"delta":{"content":"[DONE]'), true);
  expect(end.isDone).toBe(false);
});
