import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import Anthropic from '@anthropic-ai/sdk';
import { startBackend, startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

/** Speaks chat completions as published; what it answers is the test's. */
const chunk = (delta: unknown, finish: string | null = null) =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const usage = `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 2 } })}\n\n`;
const stream = [
  chunk({ role: 'assistant', content: '' }),
  chunk({ content: 'hé' }),
  chunk({ content: 'llo' }),
].join('');
const ending = `${chunk({}, 'stop')}${usage}data: [DONE]\n\n`;

const chatServer: Respond = (seen, response) => {
  const body = JSON.parse(seen.body.toString()) as { stream?: boolean; model: string };
  if (body.stream === true) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(stream + ending);
    return;
  }
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(
    JSON.stringify({
      id: 'chatcmpl-1',
      choices: [{ index: 0, message: { role: 'assistant', content: 'hello' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 7, completion_tokens: 2 },
    }),
  );
};

describe('the official Anthropic client', () => {
  let gateway: TestGateway;
  let backend: Backend;
  let respond: Respond = chatServer;
  beforeEach(async () => {
    respond = chatServer;
    backend = await startBackend((seen, response) => {
      respond(seen, response);
    });
    gateway = await startTestGateway({}, [
      service('tiny', { ready: [backend.address], upstreamModel: 'inner' }),
    ]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const client = () => new Anthropic({ baseURL: gateway.url, apiKey: 'k', maxRetries: 0, timeout: 10_000 });
  const question = {
    model: 'tiny',
    max_tokens: 10,
    messages: [{ role: 'user' as const, content: 'hi' }],
  };

  test('gets a message, and the server a chat completion for the model that it knows', async () => {
    const message = await client().messages.create(question);
    expect(message).toMatchObject({
      role: 'assistant',
      model: 'tiny',
      content: [{ type: 'text', text: 'hello' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 7, output_tokens: 2 },
    });
    const [seen] = backend.seen;
    expect(seen?.url).toBe('/v1/chat/completions');
    expect(JSON.parse(seen?.body.toString() ?? '')).toEqual({
      model: 'inner',
      messages: [{ role: 'user', content: 'hi' }],
      max_tokens: 10,
    });
  });

  test('gets a message also where the server would have compressed its answer', async () => {
    respond = (seen, response) => {
      if (seen.headers['accept-encoding'] !== undefined) {
        response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
        response.end(gzipSync('{}'));
      } else chatServer(seen, response);
    };
    expect(await client().messages.create(question)).toMatchObject({ stop_reason: 'end_turn' });
  });

  test('streams, and its own assembly of the events is the message', async () => {
    const deltas: string[] = [];
    const final = await client()
      .messages.stream(question)
      .on('text', (text) => deltas.push(text))
      .finalMessage();
    expect(deltas).toEqual(['hé', 'llo']);
    expect(final).toMatchObject({
      content: [{ type: 'text', text: 'héllo' }],
      stop_reason: 'end_turn',
      usage: { output_tokens: 2 },
    });
  });

  test('streams to the end where each chunk says that there is no error', async () => {
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end((stream + ending).replaceAll('{"id":', '{"error":null,"id":'));
    };
    expect(await client().messages.stream(question).finalMessage()).toMatchObject({
      content: [{ type: 'text', text: 'héllo' }],
    });
  });

  test('reads refusals of the gateway and errors of the server in its own shape', async () => {
    await expect(client().messages.create({ ...question, model: 'none' })).rejects.toMatchObject({
      status: 404,
      error: { type: 'error', error: { type: 'not_found_error' } },
    });
    await expect(
      client().messages.create({ ...question, tools: [{ type: 'web_search_20250305', name: 'web_search' }] }),
    ).rejects.toMatchObject({ status: 400, message: expect.stringContaining('tools.0.type') as unknown });
    respond = (_seen, response) => {
      response.writeHead(422, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message: 'no such template', type: 'x' } }));
    };
    await expect(client().messages.create(question)).rejects.toMatchObject({
      status: 422,
      error: { type: 'error', error: { message: 'no such template' } },
    });
  });

  test('is told of an answer that is no chat completion', async () => {
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"choices":"none"}');
    };
    await expect(client().messages.create(question)).rejects.toMatchObject({ status: 502 });
  });

  test('asks how many tokens a message has of the server itself', async () => {
    respond = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"input_tokens":9}');
    };
    const counted = await client().messages.countTokens({ model: 'tiny', messages: question.messages });
    expect(counted.input_tokens).toBe(9);
    expect(backend.seen[0]?.url).toBe('/v1/messages/count_tokens');
  });

  test('a body that is not JSON is refused', async () => {
    const answer = await postJson(`${gateway.url}/v1/messages`, '{"model":');
    expect(answer).toMatchObject({
      status: 400,
      body: { type: 'error', error: { type: 'invalid_request_error' } },
    });
  });
});

test('an answer that is cut is an error in its own shape, at any byte', async () => {
  const body = JSON.stringify({ choices: [{ index: 0, message: { content: 'hi' }, finish_reason: 'stop' }] });
  const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
  let cutAt = 0;
  const backend = await startRawBackend((socket, received) => {
    if (received.includes('"messages"')) socket.end(head + chunk.slice(0, cutAt));
  });
  const gateway = await startTestGateway({ triesMax: 1 }, [service('tiny', { ready: [backend.address] })]);
  try {
    for (cutAt = 0; cutAt < chunk.length; cutAt += 3) {
      const answer = await postJson(`${gateway.url}/v1/messages`, {
        model: 'tiny',
        max_tokens: 10,
        messages: [{ role: 'user', content: 'hi' }],
      });
      expect(answer).toMatchObject({ status: 502, body: { type: 'error' } });
    }
  } finally {
    await gateway.close();
    await backend.close();
  }
});

describe('a stream that is cut', () => {
  const text = stream + ending;
  const whole = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${text}`);
  const headLength = whole.length - Buffer.byteLength(text);
  // Behind the reason to stop nothing is missing but the usage.
  const stopAt = headLength + Buffer.byteLength(stream + chunk({}, 'stop'));

  test('at any byte never looks whole to its client before the server said why it stopped', async () => {
    let cutAt = 0;
    const backend = await startRawBackend((socket, received) => {
      if (!received.includes('"messages"')) return;
      socket.end(whole.subarray(0, cutAt));
    });
    const gateway = await startTestGateway({ triesMax: 1 }, [service('tiny', { ready: [backend.address] })]);
    try {
      for (cutAt = headLength; cutAt <= whole.length; cutAt += 1) {
        const { text: answer } = await postJson(`${gateway.url}/v1/messages`, {
          model: 'tiny',
          max_tokens: 10,
          stream: true,
          messages: [{ role: 'user', content: 'hi' }],
        });
        const isWhole = answer.includes('message_stop');
        expect({ cutAt, isWhole }).toEqual({ cutAt, isWhole: cutAt >= stopAt });
        expect(answer.includes('event: error')).toBe(!isWhole);
      }
    } finally {
      await gateway.close();
      await backend.close();
    }
  });
});
