import { describe, expect, test } from '@jest/globals';
import { toMessage } from '../../../domain/anthropic/response.ts';
import { MessageStream } from '../../../domain/anthropic/stream.ts';

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

  test('that was cut before its reason has no end', () => {
    const stream = new MessageStream('m');
    stream.push(chunk({ content: 'a' }));
    expect(stream.end()).toBeNull();
  });
});
