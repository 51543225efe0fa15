import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { assemble } from '../../../domain/cache/assemble.ts';
import { deliver, wantedOf } from '../../../domain/cache/deliver.ts';
import { eventData, withoutEvents } from '../../../domain/cache/events.ts';
import { choicesAsked, judge } from '../../../domain/cache/judge.ts';
import { unroll } from '../../../domain/cache/unroll.ts';

const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

const logprob = fc.record({
  token: fc.string(),
  logprob: fc.double({ min: -100, max: 0, noNaN: true }).map((value) => (value === 0 ? 0 : value)),
  bytes: fc.option(fc.array(fc.nat(255), { maxLength: 4 })),
  top_logprobs: fc.array(fc.record({ token: fc.string(), logprob: fc.constant(-0.5) }), { maxLength: 2 }),
});
const call = fc.record({
  id: fc.string({ minLength: 1 }),
  type: fc.constant('function'),
  function: fc.record({ name: fc.string({ minLength: 1 }), arguments: fc.string() }),
});
const message = fc.record(
  {
    role: fc.constant('assistant'),
    content: fc.option(fc.string({ unit: 'binary' })),
    refusal: fc.constant(null),
    reasoning_content: fc.string(),
    tool_calls: fc.array(call, { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: ['role', 'content'] },
);
const ends = fc.constantFrom('stop', 'length', 'tool_calls');
const chatChoice = fc.record({
  message,
  logprobs: fc.option(
    fc.record({ content: fc.array(logprob, { minLength: 1, maxLength: 3 }), refusal: fc.constant(null) }),
  ),
  finish_reason: ends,
});
const head = {
  id: fc.string(),
  created: fc.nat(),
  model: fc.string(),
  system_fingerprint: fc.option(fc.string()),
};
const numbered = <T extends object>(choices: T[]) => choices.map((choice, index) => ({ index, ...choice }));
const chat = fc.record({
  ...head,
  object: fc.constant('chat.completion'),
  choices: fc.array(chatChoice, { minLength: 1, maxLength: 3 }).map(numbered),
  usage: fc.constant(usage),
});
const completion = fc.record({
  ...head,
  object: fc.constant('text_completion'),
  choices: fc
    .array(
      fc.record({
        text: fc.string({ unit: 'binary' }),
        logprobs: fc.option(
          fc.record({ tokens: fc.array(fc.string()), token_logprobs: fc.array(fc.constant(-1.5)) }),
        ),
        finish_reason: ends,
      }),
      { minLength: 1, maxLength: 3 },
    )
    .map(numbered),
  usage: fc.constant(usage),
});

describe('an answer in its two forms', () => {
  test.each([
    ['chat', chat],
    ['completion', completion],
  ] as const)('a %s that is told in chunks and put together again is the same', (delivery, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (answer) => {
        const events = unroll(JSON.stringify(answer), delivery, true);
        const back = assemble(events ?? '', delivery);
        expect(JSON.parse(back ?? 'null')).toEqual(JSON.parse(JSON.stringify(answer)));
        // What was made is as good as what a server gives.
        expect(judge(events ?? '', 'events', delivery, answer.choices.length).kind).toBe('fit');
        expect(judge(back ?? '', 'json', delivery, answer.choices.length).kind).toBe('fit');
      }),
      { numRuns: 300 },
    );
  });

  test('a stream that is cut anywhere is not kept', () => {
    fc.assert(
      fc.property(chat, fc.double({ min: 0, max: 1, noNaN: true }), (answer, part) => {
        const events = unroll(JSON.stringify(answer), 'chat', true) ?? '';
        const cut = events.slice(0, Math.floor(part * (events.trimEnd().length - 1)));
        expect(judge(cut, 'events', 'chat', answer.choices.length).kind).toBe('unfit');
      }),
      { numRuns: 300 },
    );
  });

  test('tool calls in pieces, side by side, are joined', () => {
    const chunk = (delta: unknown, reason: string | null = null) =>
      `data: ${JSON.stringify({ id: 'a', object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: reason }] })}\n\n`;
    const calls = (...fragments: unknown[]) => chunk({ tool_calls: fragments });
    const stream = [
      chunk({ role: 'assistant', content: null }),
      calls({ index: 0, id: 'c0', type: 'function', function: { name: 'f', arguments: '' } }),
      calls({ index: 0, function: { arguments: '{"a"' } }),
      calls({ index: 1, id: 'c1', type: 'function', function: { name: 'g', arguments: '{' } }),
      calls({ index: 0, function: { arguments: ':1}' } }, { index: 1, function: { arguments: '}' } }),
      chunk({}, 'tool_calls'),
      'data: [DONE]\n\n',
    ].join('');
    const { choices } = JSON.parse(assemble(stream, 'chat') ?? '') as { choices: unknown[] };
    expect(choices).toEqual([
      {
        index: 0,
        message: {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'c0', type: 'function', function: { name: 'f', arguments: '{"a":1}' } },
            { id: 'c1', type: 'function', function: { name: 'g', arguments: '{}' } },
          ],
        },
        finish_reason: 'tool_calls',
      },
    ]);
  });

  test('choices side by side come out in order', () => {
    const chunk = (index: number, content: string, reason: string | null = null) =>
      `data: ${JSON.stringify({ choices: [{ index, delta: { content }, finish_reason: reason }] })}\n\n`;
    const stream = `${chunk(1, 'x')}${chunk(0, 'a')}${chunk(1, 'y', 'stop')}${chunk(0, 'b', 'stop')}data: [DONE]\n\n`;
    const { choices } = JSON.parse(assemble(stream, 'chat') ?? '') as {
      choices: { message: { content: string } }[];
    };
    expect(choices.map((choice) => choice.message.content)).toEqual(['ab', 'xy']);
  });

  test('numbers keep their digits', () => {
    const text = `{"id":"a","big":9007199254740993,"choices":[{"index":0,"text":"x","logprobs":{"token_logprobs":[-0.12345678901234567890]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`;
    const events = unroll(text, 'completion', true) ?? '';
    expect(events).toContain('9007199254740993');
    expect(assemble(events, 'completion')).toContain('-0.12345678901234567890');
  });

  test.each([
    ['sound', { role: 'assistant', audio: { id: 'a', data: 'AAAA' } }],
    ['no message', null],
  ])('%s cannot be told in chunks', (_what, said) => {
    const answer = JSON.stringify({ choices: [{ index: 0, message: said, finish_reason: 'stop' }], usage });
    expect(unroll(answer, 'chat', false)).toBeNull();
  });

  test('no text brings the conversion down', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, text) => {
        const data = `data: ${JSON.stringify(value)}\n\ndata: [DONE]\n\n`;
        for (const any of [
          data,
          text,
          JSON.stringify(value),
          JSON.stringify({ choices: value }),
          `data: ${JSON.stringify({ choices: [value] })}\n\n`,
        ]) {
          for (const delivery of ['chat', 'completion'] as const) {
            assemble(any, delivery);
            unroll(any, delivery, false);
            judge(any, 'events', delivery, 1);
            judge(any, 'json', delivery, 1);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('events', () => {
  test.each([
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data: a\r\n\r\ndata:b\r\n\r\n', ['a', 'b']],
    ['data: a\ndata: b\n\n', ['a\nb']],
    [': ping\n\nevent: x\ndata: a\nid: 1\n\n', ['a']],
    ['data: a\n\ndata: b', ['a']],
    ['data: a\n\ndata: b\n', ['a']],
    ['', []],
  ])('of %j are %j', (text, expected) => {
    expect(eventData(text)).toEqual(expected);
  });

  test('are left out whole, and nothing else with them', () => {
    const text = ': ping\n\ndata: a\r\n\r\ndata: b\n\ndata: c\n\n';
    expect(withoutEvents(text, (data) => data === 'b')).toBe(': ping\n\ndata: a\r\n\r\ndata: c\n\n');
    expect(withoutEvents(text, () => false)).toBe(text);
  });
});

describe('how a kept answer is given', () => {
  const answer = JSON.stringify({
    choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }],
    usage,
  });
  const withUsage = unroll(answer, 'chat', true) ?? '';
  const without = unroll(answer, 'chat', false) ?? '';
  const rows: [string, boolean, Record<string, unknown>, string][] = [
    ['json', true, {}, 'as-kept'],
    ['json', true, { stream: true }, 'made'],
    ['json', true, { stream: true, stream_options: { include_usage: true } }, 'made'],
    ['json', false, { stream: true, stream_options: { include_usage: true } }, 'impossible'],
    ['events', true, {}, 'made'],
    ['events', false, {}, 'impossible'],
    ['events', true, { stream: true }, 'made'],
    ['events', false, { stream: true }, 'as-kept'],
    ['events', true, { stream: true, stream_options: { include_usage: true } }, 'as-kept'],
    ['events', false, { stream: true, stream_options: { include_usage: true } }, 'impossible'],
  ];
  test.each(rows)('kept as %s, with usage: %j, asked with %j: %s', (form, hasUsage, fields, kind) => {
    const kept = { status: 200, form: form as 'json' | 'events', delivery: 'chat' as const, hasUsage };
    const bare = JSON.stringify({ ...(JSON.parse(answer) as object), usage: undefined });
    const text = form === 'json' ? (hasUsage ? answer : bare) : hasUsage ? withUsage : without;
    expect(deliver(kept, wantedOf(fields), () => text).kind).toBe(kind);
  });

  test('a refusal is the same in any form', () => {
    const kept = { status: 400, form: 'json' as const, delivery: 'chat' as const, hasUsage: false };
    expect(deliver(kept, wantedOf({ stream: true }), () => '').kind).toBe('as-kept');
  });
});

describe('what is judged whole', () => {
  test.each([
    [{ n: 2 }, 2],
    [{ prompt: ['a', 'b'], n: 3 }, 6],
    [{ prompt: [1, 2, 3] }, 1],
    [{ prompt: [[1], [2]] }, 2],
    [{ n: 'x' }, 1],
    [{}, 1],
  ])('%j asks for %i', (fields, count) => {
    expect(choicesAsked(fields)).toBe(count);
  });

  test('fewer choices than were asked for are not', () => {
    const answer = JSON.stringify({ choices: [{ finish_reason: 'stop' }] });
    expect(judge(answer, 'json', 'chat', 1).kind).toBe('fit');
    expect(judge(answer, 'json', 'chat', 2)).toEqual({ kind: 'unfit', reason: 'incomplete' });
  });

  test('text that looks like an end is text', () => {
    const said = JSON.stringify({
      choices: [{ index: 0, delta: { content: '"finish_reason":"stop"' }, finish_reason: null }],
    });
    expect(judge(`data: ${said}\n\ndata: [DONE]\n\n`, 'events', 'chat', 1).kind).toBe('unfit');
  });
});
