import { describe, expect, test } from '@jest/globals';
import { toChatRequest } from '../../../domain/anthropic/request.ts';

const base = { model: 'm', max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] };
const fieldsOf = (more: Record<string, unknown>) => {
  const translated = toChatRequest({ ...base, ...more });
  if (translated.kind === 'refused') throw new Error(translated.message);
  return translated.fields;
};
const documentWith = (more: object) => {
  const source = { type: 'text', media_type: 'text/plain', data: 'abc' };
  return { messages: [{ role: 'user', content: [{ type: 'document', source, ...more }] }] };
};
const messagesOf = (...messages: unknown[]) => fieldsOf({ messages })['messages'];

describe('a messages request', () => {
  test('becomes a chat completion with the same settings', () => {
    expect(
      fieldsOf({
        system: 'be brief',
        temperature: 0.5,
        top_p: 0.9,
        top_k: 3,
        stop_sequences: ['END'],
        metadata: { user_id: 'u1' },
        stream: true,
      }),
    ).toEqual({
      model: 'm',
      max_tokens: 5,
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'hi' },
      ],
      temperature: 0.5,
      top_p: 0.9,
      top_k: 3,
      stop: ['END'],
      user: 'u1',
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  test('with a schema for the answer, and hints that change none', () => {
    const schema = { type: 'object', properties: {} };
    const fields = fieldsOf({
      output_config: { format: { type: 'json_schema', schema }, effort: 'low' },
      ...{
        thinking: { type: 'disabled' },
        service_tier: 'auto',
        context_management: { edits: [] },
        mcp_servers: [],
        container: null,
      },
    });
    expect(fields).toEqual({
      ...base,
      response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } },
    });
  });

  test('with system blocks', () => {
    const system = [
      { type: 'text', text: 'a', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: 'b' },
    ];
    expect(fieldsOf({ system })['messages']).toEqual([{ role: 'system', content: 'a\nb' }, base.messages[0]]);
  });

  test('with tools, and what tool must be used', () => {
    const tools = [{ name: 'get', description: 'gets', input_schema: { type: 'object' } }];
    expect(fieldsOf({ tools })['tools']).toEqual([
      { type: 'function', function: { name: 'get', description: 'gets', parameters: { type: 'object' } } },
    ]);
    expect(fieldsOf({ tools, tool_choice: { type: 'any', disable_parallel_tool_use: true } })).toMatchObject({
      tool_choice: 'required',
      parallel_tool_calls: false,
    });
    expect(fieldsOf({ tools, tool_choice: { type: 'tool', name: 'get' } })['tool_choice']).toEqual({
      type: 'function',
      function: { name: 'get' },
    });
  });

  test('with tools whose calls must follow their schema, and examples of calls', () => {
    const tool = { name: 'get', input_schema: { type: 'object' } };
    const functionsOf = (more: object) =>
      (fieldsOf({ tools: [{ ...tool, ...more }] })['tools'] as { function: unknown }[])[0]?.function;
    const plain = { name: 'get', parameters: tool.input_schema };
    expect(functionsOf({ strict: true })).toEqual({ ...plain, strict: true });
    expect(functionsOf({ input_examples: [{ a: 1 }, {}], description: 'gets' })).toEqual({
      ...plain,
      description: 'gets\n\nExamples of its input:\n{"a":1}\n{}',
    });
    expect(functionsOf({ input_examples: [{ a: 1 }] })).toMatchObject({
      description: 'Examples of its input:\n{"a":1}',
    });
    const hints = { cache_control: { type: 'ephemeral' }, eager_input_streaming: true };
    const nothing = { input_examples: [], strict: null, defer_loading: false, allowed_callers: ['direct'] };
    expect(functionsOf({ ...hints, ...nothing })).toEqual(plain);
  });

  test('with a document: what it is called and about stands before its text', () => {
    const source = { type: 'text', media_type: 'text/plain', data: 'abc' };
    const textOf = (more: object) =>
      messagesOf({ role: 'user', content: [{ type: 'document', source, ...more }] });
    expect(textOf({ citations: { enabled: false }, title: null })).toEqual([
      { role: 'user', content: 'abc' },
    ]);
    expect(textOf({ title: 'Lease', context: 'signed' })).toEqual([
      { role: 'user', content: 'Title: Lease\nContext: signed\n\nabc' },
    ]);
  });

  test('with a turn of tools: calls, results, errors, pictures of results', () => {
    const picture = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA' } };
    expect(
      messagesOf(
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm', signature: 's' },
            { type: 'text', text: 'I look' },
            { type: 'tool_use', id: 't1', name: 'get', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'x' }, picture] },
            { type: 'tool_result', tool_use_id: 't2', content: 'bad', is_error: true },
            { type: 'text', text: 'go on' },
          ],
        },
      ),
    ).toEqual([
      {
        role: 'assistant',
        content: 'I look',
        tool_calls: [{ id: 't1', type: 'function', function: { name: 'get', arguments: '{"a":1}' } }],
      },
      { role: 'tool', tool_call_id: 't1', content: 'x' },
      { role: 'tool', tool_call_id: 't2', content: 'Error: bad' },
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } },
          { type: 'text', text: 'go on' },
        ],
      },
    ]);
  });

  test.each([
    ['no max_tokens', { max_tokens: undefined }, 'max_tokens'],
    ['a broken max_tokens', { max_tokens: 1.5 }, 'max_tokens'],
    ['no model', { model: 3 }, 'model'],
    ['no messages', { messages: [] }, 'messages'],
    ['a strange role', { messages: [{ role: 'tool', content: 'x' }] }, 'messages.0.role'],
    [
      'a strange block',
      { messages: [{ role: 'user', content: [{ type: 'video' }] }] },
      'messages.0.content.0.type',
    ],
    ['a number for content', { messages: [{ role: 'user', content: 5 }] }, 'messages.0.content'],
    ['a tool of Anthropic', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools.0.type'],
    ['a tool whose strictness is no boolean', { tools: [{ name: 'f', strict: 'yes' }] }, 'tools.0.strict'],
    [
      'a tool that only code may call',
      { tools: [{ name: 'f', allowed_callers: ['code'] }] },
      'tools.0.allowed_callers',
    ],
    ['a tool that is loaded later', { tools: [{ name: 'f', defer_loading: true }] }, 'tools.0.defer_loading'],
    ['a tool with a field that nobody knows', { tools: [{ name: 'f', new: 1 }] }, 'tools.0.new'],
    ['examples that are no list', { tools: [{ name: 'f', input_examples: {} }] }, 'tools.0.input_examples'],
    [
      'a document without text',
      { messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'text' } }] }] },
      'messages.0.content.0.source.data',
    ],
    [
      'a document to be cited',
      documentWith({ citations: { enabled: true } }),
      'messages.0.content.0.citations',
    ],
    ['a document with a strange title', documentWith({ title: 5 }), 'messages.0.content.0.title'],
    ['a document with a field that nobody knows', documentWith({ new: 1 }), 'messages.0.content.0.new'],
    ['a strange choice', { tool_choice: { type: 'maybe' } }, 'tool_choice.type'],
    [
      'what only Anthropic runs',
      { mcp_servers: [{ type: 'url', url: 'https://x', name: 'x' }] },
      'mcp_servers',
    ],
    ['a container', { container: 'c1' }, 'container'],
    ['a field that nobody knows', { nonsense: 1 }, 'nonsense'],
    [
      'a form of answers that is no schema',
      { output_config: { format: { type: 'xml' } } },
      'output_config.format.type',
    ],
    [
      'a text without text',
      { messages: [{ role: 'assistant', content: [{ type: 'text' }] }] },
      'messages.0.content.0.text',
    ],
    [
      'a document that is no text',
      { messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'base64' } }] }] },
      'messages.0.content.0.source',
    ],
  ])('%s is refused at its place', (_name, more, path) => {
    expect(toChatRequest({ ...base, ...more })).toMatchObject({ kind: 'refused', path });
  });
});
