import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI from 'openai';
import { echo, startBackend } from '../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';

const completion = {
  id: 'c1',
  object: 'chat.completion',
  created: 1,
  model: 'tiny',
  choices: [{ index: 0, message: { role: 'assistant', content: 'hello' }, finish_reason: 'stop' }],
};

const chunk = (text: string) =>
  `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'tiny', choices: [{ index: 0, delta: { content: text } }] })}\n\n`;

/** Speaks as an OpenAI server does; streams when asked to. */
const openaiServer: Respond = (seen, response) => {
  const body = JSON.parse(seen.body.toString()) as { stream?: boolean };
  if (body.stream !== true) {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(seen.url.includes('embeddings') ? embeddings : completion));
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const word of ['one ', 'two ', 'three']) response.write(chunk(word));
  response.end('data: [DONE]\n\n');
};
const embeddings = {
  object: 'list',
  model: 'tiny',
  data: [{ object: 'embedding', index: 0, embedding: [0.5, 0.25] }],
  usage: { prompt_tokens: 1, total_tokens: 1 },
};

describe('the official OpenAI client', () => {
  let gateway: TestGateway;
  let backend: Backend;
  beforeEach(async () => {
    backend = await startBackend(openaiServer);
    gateway = await startTestGateway({}, [service('tiny', { ready: [backend.address] })]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const client = (path = '/v1') =>
    new OpenAI({ baseURL: gateway.url + path, apiKey: 'k', maxRetries: 0, timeout: 10_000 });

  test.each([['/v1'], ['/openai/v1'], ['/serving/default/tiny/v1'], ['/serving/default/tiny/openai/v1']])(
    'chats under %s',
    async (path) => {
      const answer = await client(path).chat.completions.create({
        model: 'tiny',
        messages: [{ role: 'user', content: 'hi' }],
      });
      expect(answer.choices[0]?.message.content).toBe('hello');
      expect(backend.seen[0]?.url).toBe('/v1/chat/completions');
    },
  );

  test('streams', async () => {
    const stream = await client().chat.completions.create({
      model: 'tiny',
      messages: [{ role: 'user', content: 'hi' }],
      stream: true,
    });
    let text = '';
    for await (const part of stream) text += part.choices[0]?.delta.content ?? '';
    expect(text).toBe('one two three');
  });

  test('embeds', async () => {
    const answer = await client().embeddings.create({ model: 'tiny', input: 'x', encoding_format: 'float' });
    expect(answer.data[0]?.embedding).toEqual([0.5, 0.25]);
  });

  test('lists and retrieves models', async () => {
    const list = await client().models.list();
    expect(list.data.map((model) => model.id)).toEqual(['tiny']);
    const model = await client().models.retrieve('tiny');
    expect(model).toMatchObject({ id: 'tiny', object: 'model', owned_by: 'default', created: 1767323045 });
  });

  test('reads all fields of an error', async () => {
    const failing = client().chat.completions.create({ model: 'nope', messages: [] });
    await expect(failing).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
      type: 'invalid_request_error',
      param: 'model',
    });
  });
});

describe('an OpenAI request', () => {
  let gateway: TestGateway;
  let backend: Backend;
  beforeEach(async () => {
    backend = await startBackend(echo);
    gateway = await startTestGateway({}, [service('tiny', { ready: [backend.address] })]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });

  test('goes upstream byte for byte', async () => {
    const body = '{ "model" : "tiny", "seed": 12345678901234567890, "x": 1.10 }';
    const answer = await postJson(`${gateway.url}/v1/chat/completions?a=1`, body);
    expect(answer.body).toMatchObject({ url: '/v1/chat/completions?a=1', body });
  });

  test('has only its model renamed when the server knows it by another name', async () => {
    gateway.use([service('tiny', { ready: [backend.address], upstreamModel: 'gguf-7' })]);
    const body = '{ "seed": 12345678901234567890, "model" : "tiny", "x": 1.10 }';
    const answer = await postJson(`${gateway.url}/v1/completions`, body);
    expect(answer.body).toMatchObject({ body: body.replace('"tiny"', '"gguf-7"') });
  });

  test('says where its JSON breaks', async () => {
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, '{"model": "tiny",\n "n": }');
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({
      error: { type: 'invalid_request_error', code: 'invalid_json', param: null },
    });
    expect(answer.text).toContain('position 24 (line 2, column 7)');
    expect(backend.seen).toHaveLength(0);
  });

  test('is routed by the fields behind a long text, and passed on byte for byte', async () => {
    gateway.use([service('tiny', { ready: [backend.address], upstreamModel: 'gguf-7' })]);
    const text = 'Say "model": "other" and \\ no more.\n'.repeat(400);
    const body = JSON.stringify({ prompt: text, messages: [{ content: text }], model: 'tiny' });
    const answer = await postJson(`${gateway.url}/v1/completions`, body);
    expect(answer.body).toMatchObject({ body: body.replace('"tiny"', '"gguf-7"') });
  });

  test('is routed by a long name, escapes and all, behind a long text', async () => {
    const name = 'tiny-'.repeat(20) + 'x';
    gateway.use([service(name, { ready: [backend.address] })]);
    const escaped = Array.from(name, (char) => `\\u00${char.charCodeAt(0).toString(16)}`).join('');
    const body = `{"prompt":"${'long '.repeat(2000)}","model":"${escaped}"}`;
    const answer = await postJson(`${gateway.url}/v1/completions`, body);
    expect(answer).toMatchObject({ status: 200 });
  });

  test('says where its JSON breaks behind a long text', async () => {
    const text = 'long '.repeat(2000);
    const answer = await postJson(`${gateway.url}/v1/completions`, `{"prompt": "${text}",\n "n": }`);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'invalid_json' } } });
    expect(answer.text).toContain('position 10021 (line 2, column 7)');
    expect(backend.seen).toHaveLength(0);
  });

  test.each([
    ['no model', '{}', 'invalid_request'],
    ['a model that is no string', '{"model": 3}', 'invalid_request'],
    ['a list', '[1]', 'invalid_request'],
    ['nothing', '', 'invalid_json'],
  ])('is refused when it is %s', async (_what, body, code) => {
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, body);
    expect(answer).toMatchObject({ status: 400, body: { error: { code } } });
  });

  test('is refused when its bytes are not UTF-8', async () => {
    const body = Buffer.concat([
      Buffer.from('{"model":"tiny","x":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}'),
    ]);
    const response = await fetch(`${gateway.url}/v1/completions`, { method: 'POST', body });
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('UTF-8');
  });

  test('is told which protocols a model has', async () => {
    gateway.use([service('iris', { ready: [backend.address], protocols: ['v1', 'v2'] })]);
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, { model: 'iris', messages: [] });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ error: { code: 'unsupported_protocol' } });
    expect(answer.text).toContain("'v1' or 'v2'");
  });

  test('is told why nothing is ready, and when to come again', async () => {
    gateway.use([service('tiny', { state: 'Loading', message: 'Fetching 3 of 93 MB' })]);
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, { model: 'tiny' });
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(answer.body).toMatchObject({ error: { code: 'model_not_ready', type: 'server_error' } });
    expect(answer.text).toContain('Fetching 3 of 93 MB');
  });

  test('keeps a plain request id and makes one otherwise', async () => {
    const url = `${gateway.url}/v1/completions`;
    const given = await postJson(url, { model: 'tiny' }, { 'x-request-id': 'abc-1' });
    expect(given.headers.get('x-request-id')).toBe('abc-1');
    expect(backend.seen[0]?.headers['x-request-id']).toBe('abc-1');
    const made = await postJson(url, { model: 'tiny' }, { 'x-request-id': 'with space' });
    expect(made.headers.get('x-request-id')).toMatch(/^[0-9a-f]{12}-\w+$/);
  });

  test('to an unknown route or with a wrong method is refused in OpenAI words', async () => {
    expect(await get(`${gateway.url}/v1/nothing`)).toMatchObject({
      status: 404,
      body: { error: { code: 'unknown_url' } },
    });
    const wrong = await get(`${gateway.url}/v1/chat/completions`);
    expect(wrong).toMatchObject({ status: 405, body: { error: { code: 'method_not_allowed' } } });
    expect(wrong.headers.get('allow')).toBe('POST');
  });
});
