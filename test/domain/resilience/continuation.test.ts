import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { continuationOf, readAnswer, requestObstacle } from '../../../domain/resilience/continuation.ts';
import { ContinuedChunks } from '../../../domain/resilience/continued-chunks.ts';
import { eventData } from '../../../domain/sse/sse.ts';

const encode = (value: unknown) =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const decode = (body: Uint8Array) => new TextDecoder().decode(body);
const parse = (json: string) => JSON.parse(json) as Record<string, unknown>;
const event = (value: unknown) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const head = { id: 'cmpl-1', created: 7, model: 'm', object: 'text_completion' };
const piece = (text: string, more: object = {}, id = head) =>
  event({ ...id, choices: [{ index: 0, text, finish_reason: null, ...more }] });
const delta = (value: object, more: object = {}, id = head) =>
  event({ ...id, choices: [{ index: 0, delta: value, finish_reason: null, ...more }] });

describe('readAnswer', () => {
  test('counts pieces, keeps what all chunks share, and sees the end', () => {
    const answer = readAnswer(
      'text',
      piece('Hé') +
        ': comment\n\n' +
        piece(' you') +
        piece(' ') +
        piece('', { finish_reason: 'stop' }) +
        event('[DONE]'),
    );
    expect(answer).toMatchObject({
      text: 'Hé you ',
      pieces: 3,
      blankPieces: 1,
      finish: 'stop',
      isDone: true,
    });
    expect(answer.identity).toEqual({ id: 'cmpl-1', created: 7, model: 'm' });
    expect(answer.obstacle).toBeNull();
  });

  test.each([
    ['a tool call', delta({ tool_calls: [{ index: 0 }] })],
    ['thoughts', delta({ reasoning_content: 'hm' })],
    ['a second choice', event({ ...head, choices: [{ index: 1, delta: { content: 'x' } }] })],
    ['two choices at once', event({ ...head, choices: [{}, {}] })],
    ['probabilities', delta({ content: 'x' }, { logprobs: { content: [] } })],
    ['an error', event({ error: { message: 'x' } })],
    ['something else', event({ hello: 1 })],
    ['no JSON', event('{')],
  ])('%s is an obstacle', (_name, events) => {
    expect(readAnswer('chat', delta({ role: 'assistant', content: 'a' }) + events).obstacle).not.toBeNull();
  });

  test('empty fields that servers send beside the text are none', () => {
    const events = delta({
      role: 'assistant',
      content: null,
      refusal: null,
      tool_calls: [],
      reasoning_content: '',
    });
    expect(readAnswer('chat', events)).toMatchObject({ obstacle: null, hasRole: true, text: '' });
  });
});

describe('requestObstacle', () => {
  const chat = { messages: [{ role: 'user', content: 'hi' }] };
  test.each([
    ['text', { prompt: 'x' }, 'never', true],
    ['text', { prompt: ['x'] }, 'never', true],
    ['text', { prompt: ['x', 'y'] }, 'never', false],
    ['text', { prompt: [1, 2] }, 'never', false],
    ['text', { prompt: 'x', suffix: 'y' }, 'never', false],
    ['text', { prompt: 'x', echo: true }, 'never', false],
    ['text', { prompt: 'x', echo: false, n: 1, best_of: 1, logprobs: null }, 'never', true],
    ['text', { prompt: 'x', logprobs: 0 }, 'never', false],
    ['text', { prompt: 'x', n: 2 }, 'never', false],
    ['chat', chat, 'never', false],
    ['chat', chat, 'vllm', true],
    ['chat', chat, 'llama.cpp', true],
    ['chat', { ...chat, tools: [{}] }, 'vllm', true],
    ['chat', { ...chat, tools: [{}] }, 'llama.cpp', false],
    ['chat', { ...chat, response_format: { type: 'json_object' } }, 'vllm', false],
    ['chat', { ...chat, response_format: { type: 'text' } }, 'vllm', true],
    ['chat', { messages: [{ role: 'assistant', content: 'He' }] }, 'vllm', false],
    ['chat', { messages: [] }, 'vllm', false],
  ] as const)('%s %j by %s: %s', (kind, fields, how, isPossible) => {
    expect(requestObstacle(kind, fields, how) === null).toBe(isPossible);
  });
});

describe('continuationOf', () => {
  const answerOf = (...pieces: string[]) => readAnswer('text', pieces.map((text) => piece(text)).join(''));

  test('a prompt grows by what its bytes say, of which the fields may hold less', () => {
    const long = 'Once upon a \\u0074ime\\n'.repeat(300);
    for (const prompt of [`"${long}"`, `[ "${long}" ]`]) {
      const next = continuationOf(
        'text',
        { body: encode(`{"prompt":${prompt}}`), fields: { prompt: '...' } },
        answerOf(' a', ' b'),
        'never',
      );
      expect(decode(next.body)).toBe(`{"prompt":"${long} a b"}`);
    }
  });

  test('the prompt grows by the text, the tokens shrink by it, and no other byte changes', () => {
    const body = '{ "seed":9007199254740993, "prompt" : "Say", "max_tokens":10, "x":[1.0] }';
    const next = continuationOf(
      'text',
      { body: encode(body), fields: parse(body) },
      answerOf(' a', ' b'),
      'never',
    );
    expect(decode(next.body)).toBe(
      '{ "seed":9007199254740993, "prompt" : "Say a b", "max_tokens":8, "x":[1.0] }',
    );
    expect(next).toMatchObject({ given: 2, owed: '', isFull: false });
  });

  test('white space at the end is not sent: it is expected back', () => {
    const body = { prompt: ['Say'], max_tokens: 10 };
    const next = continuationOf(
      'text',
      { body: encode(body), fields: body },
      answerOf(' a', ' \n', ' '),
      'never',
    );
    expect(JSON.parse(decode(next.body))).toEqual({ prompt: 'Say a', max_tokens: 9 });
    expect(next.owed).toBe(' \n ');
  });

  test('nothing said yet is the same request again', () => {
    const body = encode({ prompt: 'Say' });
    expect(continuationOf('text', { body, fields: { prompt: 'Say' } }, answerOf(), 'never').body).toEqual(
      body,
    );
  });

  test('an answer with all its tokens asks for its end alone', () => {
    const body = { prompt: 'Say', max_tokens: 2 };
    const next = continuationOf('text', { body: encode(body), fields: body }, answerOf(' a', ' b'), 'never');
    expect(next.isFull).toBe(true);
    expect(JSON.parse(decode(next.body))).toMatchObject({ max_tokens: 1 });
  });

  test.each([
    ['llama.cpp', {}],
    ['vllm', { add_generation_prompt: false, continue_final_message: true }],
  ] as const)('a chat gets the text as an unfinished message of %s', (how, more) => {
    const body = { messages: [{ role: 'user', content: 'hi' }], max_completion_tokens: 9 };
    const answer = readAnswer(
      'chat',
      delta({ role: 'assistant', content: '' }) + delta({ content: 'He "y"' }),
    );
    const next = continuationOf('chat', { body: encode(body), fields: body }, answer, how);
    expect(JSON.parse(decode(next.body))).toEqual({
      messages: [...body.messages, { role: 'assistant', content: 'He "y"' }],
      max_completion_tokens: 8,
      ...more,
    });
  });

  test('whatever the body, it stays JSON with the same other fields', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.string(),
        fc.string(),
        (more, prompt, said) => {
          const fields = { ...more, prompt };
          const body = encode(fields);
          const answer = readAnswer('text', piece(said));
          const next = continuationOf('text', { body, fields: parse(decode(body)) }, answer, 'never');
          const known = said.trimEnd();
          expect(JSON.parse(decode(next.body))).toMatchObject({
            prompt: prompt + known,
          });
          expect(known + next.owed).toBe(answer.text);
        },
      ),
    );
  });
});

describe('ContinuedChunks', () => {
  const other = { id: 'cmpl-2', created: 9, model: 'replica', object: 'text_completion' };
  const start = (text: string, body: object = { prompt: 'Say' }) => {
    const before = readAnswer('text', piece(text));
    const continuation = continuationOf(
      'text',
      { body: encode(body), fields: body as never },
      before,
      'never',
    );
    return new ContinuedChunks('text', before, continuation);
  };
  const texts = (events: string) =>
    eventData(events)
      .filter((data) => data !== '[DONE]')
      .map((data) => (JSON.parse(data) as { choices: { text: string }[] }).choices[0]?.text ?? '')
      .join('');

  test('chunks take the identity of the first server', () => {
    const out = eventData(start('a').rewrite(piece('b', {}, other)))[0]!;
    expect(JSON.parse(out)).toMatchObject({ id: 'cmpl-1', created: 7, model: 'm' });
  });

  test.each([
    ['comes back', ' \n', [' ', '\nb'], 'b'],
    ['comes back in one piece', ' ', [' b'], 'b'],
    ['does not come back', ' ', ['b'], 'b'],
    ['comes back otherwise', ' \n', [' ', 'b'], 'b'],
  ])('white space that %s is never there twice', (_name, owed, pieces, wanted) => {
    const chunks = start(`a${owed}`);
    expect(texts(pieces.map((text) => chunks.rewrite(piece(text, {}, other))).join(''))).toBe(wanted);
  });

  test('usage is that of one request', () => {
    const out = start('a').rewrite(
      event({
        ...other,
        choices: [],
        usage: {
          prompt_tokens: 11,
          completion_tokens: 4,
          total_tokens: 15,
          prompt_tokens_details: { cached_tokens: 11 },
        },
      }),
    );
    expect(JSON.parse(eventData(out)[0]!)).toMatchObject({
      usage: {
        prompt_tokens: 10,
        completion_tokens: 5,
        total_tokens: 15,
        prompt_tokens_details: { cached_tokens: 10 },
      },
    });
  });

  test('an answer that had all its tokens gets its end, and no text of the extra one', () => {
    const chunks = start('a', { prompt: 'Say', max_tokens: 1 });
    const out = chunks.rewrite(
      piece('x', {}, other) +
        piece('', { finish_reason: 'length' }, other) +
        event({ ...other, choices: [], usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 } }) +
        event('[DONE]'),
    );
    const data = eventData(out);
    expect(texts(out)).toBe('');
    expect(data).toHaveLength(3);
    expect(JSON.parse(data[1]!)).toMatchObject({
      usage: { prompt_tokens: 2, completion_tokens: 1, total_tokens: 3 },
    });
    expect(chunks.isDone).toBe(true);
  });

  test('a second role is not sent, and an error ends it', () => {
    const before = readAnswer('chat', delta({ role: 'assistant', content: '' }) + delta({ content: 'a' }));
    const body = { messages: [{ role: 'user', content: 'hi' }] };
    const continuation = continuationOf('chat', { body: encode(body), fields: body }, before, 'vllm');
    const chunks = new ContinuedChunks('chat', before, continuation);
    expect(chunks.rewrite(delta({ role: 'assistant', content: '' }, {}, other))).toBe('');
    expect(chunks.rewrite(delta({ role: 'assistant', content: 'b' }, {}, other))).not.toContain('role');
    expect(chunks.rewrite(event({ error: { message: 'no' } }) + delta({ content: 'c' }))).toBe('');
    expect(chunks.error).toEqual({ message: 'no' });
  });
});
