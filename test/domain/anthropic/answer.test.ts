import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { toMessage } from '../../../domain/anthropic/response.ts';
import { MessageStream } from '../../../domain/anthropic/stream.ts';
import type { AnthropicEvent } from '../../../domain/anthropic/blocks.ts';

const completion = (message: unknown, finish = 'stop', more = {}) => ({
  id: 'chatcmpl-7',
  choices: [{ index: 0, message, finish_reason: finish, ...more }],
  usage: { prompt_tokens: 10, completion_tokens: 4, prompt_tokens_details: { cached_tokens: 6 } },
});

describe('a whole answer', () => {
  test('is a message under the name that was asked for', () => {
    expect(toMessage(completion({ role: 'assistant', content: 'hello' }), 'ns/m')).toEqual({
      id: 'msg_7',
      type: 'message',
      role: 'assistant',
      model: 'ns/m',
      content: [{ type: 'text', text: 'hello' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: {
        input_tokens: 4,
        output_tokens: 4,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 6,
      },
    });
  });

  test('keeps thinking, text and tools in order, and digits that a double would lose', () => {
    const message = {
      content: 'see',
      reasoning_content: 'hm',
      tool_calls: [
        { id: 'c', type: 'function', function: { name: 'f', arguments: '{"id":9007199254740993}' } },
      ],
    };
    const answer = toMessage(completion(message, 'tool_calls'), 'm');
    expect(answer['stop_reason']).toBe('tool_use');
    expect(JSON.stringify(answer['content'])).toBe(
      '[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"see"},' +
        '{"type":"tool_use","id":"c","name":"f","input":{"id":9007199254740993}}]',
    );
  });

  test.each([
    ['length', {}, 'max_tokens', null],
    ['content_filter', {}, 'refusal', null],
    ['stop', { stop_reason: 'END' }, 'stop_sequence', 'END'],
    ['stop', { stop_reason: 128001 }, 'end_turn', null],
  ])('that ended by %s %j says %s', (finish, more, reason, sequence) => {
    expect(toMessage(completion({ content: 'x' }, finish, more), 'm')).toMatchObject({
      stop_reason: reason,
      stop_sequence: sequence,
    });
  });

  test('that calls the tool which its caller chose says so, where the server says `stop`', () => {
    const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } };
    const answer = (finish: string) =>
      toMessage(completion({ content: null, tool_calls: [call] }, finish), 'm');
    expect(answer('stop')).toMatchObject({ stop_reason: 'tool_use' });
    expect(answer('length')).toMatchObject({ stop_reason: 'max_tokens' });
    const stream = new MessageStream('m');
    stream.push({ choices: [{ delta: { tool_calls: [{ index: 0, ...call }] } }] });
    stream.push({ choices: [{ delta: {}, finish_reason: 'stop' }] });
    expect(stream.end()?.at(-2)).toMatchObject({ delta: { stop_reason: 'tool_use' } });
  });

  test.each([[{}], [{ choices: [] }], [{ choices: [{}] }]])('%j is no completion', (body) => {
    expect(() => toMessage(body, 'm')).toThrow('not a chat completion');
  });
});

describe('a stream', () => {
  const chunk = (delta: unknown, more = {}) => ({
    id: 'chatcmpl-1',
    choices: [{ index: 0, delta, ...more }],
  });

  test('opens and closes each block once, and ends with the reason and the usage', () => {
    const stream = new MessageStream('m');
    const events = [
      ...stream.push(chunk({ role: 'assistant', content: '' })),
      ...stream.push(chunk({ reasoning_content: 'hm' })),
      ...stream.push(chunk({ content: 'a' })),
      ...stream.push(chunk({ content: 'b' })),
      ...stream.push(chunk({ tool_calls: [{ index: 0, id: 't', function: { name: 'f', arguments: '' } }] })),
      ...stream.push(chunk({ tool_calls: [{ index: 0, function: { arguments: '{}' } }] })),
      ...stream.push(chunk({ tool_calls: [{ index: 1, id: 'u', function: { name: 'g', arguments: '{' } }] })),
      ...stream.push(chunk({}, { finish_reason: 'tool_calls' })),
      ...stream.push({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 2 } }),
      ...(stream.end() ?? []),
    ];
    expect(events.map((e) => [e.type, e['index']])).toEqual([
      ['message_start', undefined],
      ['content_block_start', 0],
      ['content_block_delta', 0],
      ['content_block_stop', 0],
      ['content_block_start', 1],
      ['content_block_delta', 1],
      ['content_block_delta', 1],
      ['content_block_stop', 1],
      ['content_block_start', 2],
      ['content_block_delta', 2],
      ['content_block_stop', 2],
      ['content_block_start', 3],
      ['content_block_delta', 3],
      ['content_block_stop', 3],
      ['message_delta', undefined],
      ['message_stop', undefined],
    ]);
    expect(events.at(-2)).toMatchObject({
      delta: { stop_reason: 'tool_use' },
      usage: { input_tokens: 3, output_tokens: 2 },
    });
    expect(stream.end()).toBeNull();
  });

  const call = (index: number, id: string | null, text: string, name = id === null ? undefined : 'f') => ({
    tool_calls: [{ index, ...(id === null ? {} : { id }), function: { name, arguments: text } }],
  });
  /** Blocks as a client puts them together: each by its index, which comes once. */
  const blocksOf = (events: readonly AnthropicEvent[]) => {
    const blocks: { start: unknown; text: string; isOver: boolean }[] = [];
    for (const { type, index, content_block: start, delta } of events) {
      if (type === 'content_block_start') {
        expect([index, blocks.every(({ isOver }) => isOver)]).toEqual([blocks.length, true]);
        blocks.push({ start, text: '', isOver: false });
      } else if (type === 'content_block_delta' || type === 'content_block_stop') {
        expect(index).toBe(blocks.length - 1);
        const block = blocks.at(-1);
        if (block === undefined) continue;
        if (type === 'content_block_stop') block.isOver = true;
        else block.text += Object.values((delta ?? {}) as Record<string, string>)[1] ?? '';
      }
    }
    return blocks.map(({ start, text, isOver }) => {
      const { id, name, type } = start as Record<string, unknown>;
      return [id ?? type, name, text, isOver];
    });
  };
  const streamed = (deltas: readonly unknown[], heldMax?: number) => {
    const stream = new MessageStream('m', heldMax);
    const events = deltas.flatMap((delta) => stream.push(chunk(delta)));
    stream.push(chunk({}, { finish_reason: 'tool_calls' }));
    return blocksOf([...events, ...(stream.end() ?? [])]);
  };

  test('gives calls whose pieces come by turns as a block each', () => {
    const deltas = [
      call(0, 'a', ''),
      call(1, 'b', ''),
      call(0, null, '{"x":"}'),
      call(1, null, '{"y":[1,'),
      call(0, null, '\\""}'),
      call(1, null, '2]}'),
    ];
    expect(streamed(deltas)).toEqual([
      ['a', 'f', '{"x":"}\\""}', true],
      ['b', 'f', '{"y":[1,2]}', true],
    ]);
  });

  test('gives calls that share an index and not an id as a block each', () => {
    const deltas = [call(0, 'a', '{"x":1}'), call(0, 'b', '{"y":'), call(0, 'b', '2}'), call(0, 'c', '')];
    expect(streamed(deltas)).toEqual([
      ['a', 'f', '{"x":1}', true],
      ['b', 'f', '{"y":2}', true],
      ['c', 'f', '', true],
    ]);
  });

  test('takes an id that changes without a name for the same call', () => {
    expect(streamed([call(0, 'a', '{'), call(0, 'z', '}', '')])).toEqual([['a', 'f', '{}', true]]);
  });

  test('holds no call back that comes after a whole one', () => {
    const stream = new MessageStream('m');
    stream.push(chunk(call(0, 'a', '{"x":{}}')));
    expect(stream.push(chunk(call(1, 'b', '{'))).map(({ type }) => type)).toEqual([
      'content_block_stop',
      'content_block_start',
      'content_block_delta',
    ]);
  });

  test('puts text that comes amid a call behind it', () => {
    const deltas = [
      { content: 'a' },
      call(0, 'a', '{'),
      { content: 'b' },
      call(0, null, '}'),
      { content: 'c' },
    ];
    expect(streamed(deltas)).toEqual([
      ['text', undefined, 'a', true],
      ['a', 'f', '{}', true],
      ['text', undefined, 'bc', true],
    ]);
  });

  test('refuses to hold back more than it may, and what comes for a call that was given', () => {
    const open = [call(0, 'a', '{'), call(1, 'b', '{')];
    expect(() => streamed([...open, call(1, null, 'x'.repeat(2_000))], 1_000)).toThrow('held back');
    const given = [call(0, 'a', '{}'), call(1, 'b', '{')];
    expect(() => streamed([...given, call(0, null, '{}')])).toThrow('was whole');
    expect(streamed([...given, call(0, null, '\n'), call(1, null, '}')])).toHaveLength(2);
  });

  test('is put together the same however the pieces of its calls are mixed', () => {
    const pieces = fc.array(fc.string({ maxLength: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        fc.array(pieces, { minLength: 1, maxLength: 4 }),
        fc.infiniteStream(fc.nat()),
        (calls, chance) => {
          const texts = calls.map((parts) => JSON.stringify({ x: parts.join('') }));
          // Each is cut anywhere, and all are dealt out by chance.
          const left = texts.map((text, at) => ({ at, text }));
          const deltas: unknown[] = left.map(({ at }) => call(at, `t${at}`, ''));
          while (left.some(({ text }) => text !== '')) {
            const one = left[(chance.next().value ?? 0) % left.length];
            if (one === undefined || one.text === '') continue;
            const length = 1 + ((chance.next().value ?? 0) % 5);
            deltas.push(call(one.at, null, one.text.slice(0, length)));
            one.text = one.text.slice(length);
          }
          expect(streamed(deltas)).toEqual(texts.map((text, at) => [`t${at}`, 'f', text, true]));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('that was cut before its reason has no end', () => {
    const stream = new MessageStream('m');
    stream.push(chunk({ content: 'a' }));
    expect(stream.end()).toBeNull();
  });
});
