import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import OpenAI, { toFile } from 'openai';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { newKey, useAccess } from '../../fixtures/access/keys.ts';

/**
 * Loopback stand-ins that follow the published API: they prove that requests reach a server and answers a client
 * byte for byte, not that a model hears or draws.
 */
const wave = Buffer.from(Array.from({ length: 5000 }, (_, at) => (at * 31) % 256));
let answerOf: Respond;

const json =
  (body: unknown): Respond =>
  (_seen, response) => {
    const text = JSON.stringify(body);
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    });
    response.end(text);
  };

describe('every OpenAI path', () => {
  let gateway: TestGateway;
  let backend: Backend;
  beforeEach(async () => {
    backend = await startBackend((seen, response) => {
      answerOf(seen, response);
    });
    gateway = await startTestGateway({}, [
      service('m', { ready: [backend.address], upstreamModel: 'inner' }),
    ]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const client = () =>
    new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'k', maxRetries: 0, timeout: 10_000 });
  const sent = () => JSON.parse(backend.seen[0]?.body.toString() ?? '') as Record<string, unknown>;

  test('responses: made, streamed', async () => {
    answerOf = json({ id: 'resp_1', object: 'response', output: [], output_text: '' });
    expect((await client().responses.create({ model: 'm', input: 'hi' })).id).toBe('resp_1');
    expect(sent()).toEqual({ model: 'inner', input: 'hi' });
  });

  test('transcription: the file reaches the server byte for byte, and the form names the server’s own model', async () => {
    answerOf = json({ text: 'words' });
    const file = await toFile(wave, 'a.wav', { type: 'audio/wav' });
    expect((await client().audio.transcriptions.create({ model: 'm', file })).text).toBe('words');
    const [seen] = backend.seen;
    expect(seen?.url).toBe('/v1/audio/transcriptions');
    expect(seen?.body.includes(wave)).toBe(true);
    expect(seen?.body.toString('latin1')).toMatch(/name="model"\r\n\r\ninner\r\n/);
  });

  test('speech: bytes come back as the server sent them', async () => {
    answerOf = (_seen, response) => {
      response.writeHead(200, { 'content-type': 'audio/mpeg' });
      response.write(wave.subarray(0, 1234));
      response.end(wave.subarray(1234));
    };
    const answer = await client().audio.speech.create({ model: 'm', voice: 'alloy', input: 'hi' });
    expect(answer.headers.get('content-type')).toBe('audio/mpeg');
    expect(Buffer.from(await answer.arrayBuffer()).equals(wave)).toBe(true);
  });

  test('images: made and edited', async () => {
    answerOf = json({ created: 1, data: [{ b64_json: 'AA' }] });
    expect((await client().images.generate({ model: 'm', prompt: 'x' })).data?.[0]?.b64_json).toBe('AA');
    const image = await toFile(wave, 'a.png', { type: 'image/png' });
    await client().images.edit({ model: 'm', prompt: 'x', image });
    expect(backend.seen[1]?.url).toBe('/v1/images/edits');
    expect(backend.seen[1]?.body.includes(wave)).toBe(true);
  });

  test.each([
    ['/v1/rerank', { query: 'q', documents: ['a'] }],
    ['/rerank', { query: 'q', documents: ['a'] }],
    ['/v2/rerank', { query: 'q', documents: ['a'] }],
    ['/v1/score', { text_1: 'a', text_2: ['b'] }],
    ['/score', { text_1: 'a', text_2: ['b'] }],
    ['/classify', { input: 'a' }],
    ['/pooling', { input: 'a' }],
    ['/v1/moderations', { input: 'a' }],
    ['/tokenize', { prompt: 'a' }],
    ['/detokenize', { tokens: [1] }],
  ])('%s passes its body but for the model', async (path, body) => {
    answerOf = json({ ok: true });
    const text = `{ "model" : "m",  "exact": 9007199254740993, ${JSON.stringify(body).slice(1)}`;
    expect((await postJson(gateway.url + path, text)).body).toEqual({ ok: true });
    expect(backend.seen[0]?.url).toBe(path);
    expect(backend.seen[0]?.body.toString()).toBe(text.replace('"m"', '"inner"'));
  });

  test('a form without boundary, or without a model, is refused with what to do', async () => {
    const bad = await postJson(`${gateway.url}/v1/audio/transcriptions`, '{}');
    expect(bad).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
    const form = new FormData();
    form.set('prompt', 'x');
    const none = await fetch(`${gateway.url}/v1/audio/transcriptions`, { method: 'POST', body: form });
    expect(none.status).toBe(400);
  });

  test('GET on them is 405 and names what is allowed', async () => {
    const answer = await get(`${gateway.url}/v1/responses`);
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST']);
  });
});

describe('a stored response', () => {
  let gateway: TestGateway;
  let backends: Backend[] = [];
  beforeEach(async () => {
    const own = (index: number): Respond => {
      let count = 0;
      return (seen, response) => {
        const stream = seen.body.includes('"stream":true');
        if (seen.url.endsWith('?busy')) {
          response.writeHead(503, { 'x-from': index }).end('busy');
          return;
        }
        const id =
          seen.method === 'POST' && seen.url === '/v1/responses'
            ? `resp_${index}_${(count += 1)}_${'0'.repeat(90)}`
            : '';
        const body = JSON.stringify({ id, from: index, url: seen.url, method: seen.method });
        response.writeHead(200, { 'content-type': stream ? 'text/event-stream' : 'application/json' });
        response.end(stream ? `event: response.created\ndata: {"response":${body}}\n\n` : body);
      };
    };
    backends = await Promise.all([0, 1, 2].map((index) => startBackend(own(index))));
    gateway = await startTestGateway({}, [service('m', { ready: backends.map(({ address }) => address) })]);
  });
  afterEach(async () => {
    await gateway.close();
    await Promise.all(backends.map((backend) => backend.close()));
  });

  test('is read, cancelled, deleted and gone on from at the server that made it', async () => {
    for (let turn = 0; turn < 8; turn += 1) {
      const made = (
        await postJson(`${gateway.url}/v1/responses`, { model: 'm', input: 'x', stream: turn % 2 === 1 })
      ).text;
      const id = /resp_\w+/.exec(made)?.[0] ?? '';
      const from = /"from":(\d)/.exec(made)?.[1];
      const at = `${gateway.url}/v1/responses/${id}`;
      const next = { model: 'm', input: 'y', previous_response_id: id };
      const answers = [
        await fetch(at),
        await fetch(`${at}/input_items`),
        await fetch(`${at}/cancel`, { method: 'POST' }),
        await fetch(`${gateway.url}/v1/responses`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(next),
        }),
        await fetch(at, { method: 'DELETE' }),
      ];
      const bodies = (await Promise.all(answers.map((answer) => answer.json()))) as { from: number }[];
      expect(bodies.map((body) => String(body.from))).toEqual(Array(5).fill(from));
    }
    // Eight were made, and each was gone on from once.
    expect((await get(`${gateway.url}/metrics`)).text).toContain('muster_gateway_stored_responses 16\n');
  });

  test('whose server cannot be asked is not looked for at another, which would say that there is none', async () => {
    const made = (await postJson(`${gateway.url}/v1/responses`, { model: 'm', input: 'x' })).text;
    const id = /resp_\w+/.exec(made)?.[0] ?? '';
    const from = Number(/"from":(\d)/.exec(made)?.[1]);
    const asked = () => backends.reduce((sum, { seen }) => sum + seen.length, 0);
    const before = asked();
    const addresses = backends.map(({ address }) => address);
    const others = addresses.filter((_address, at) => at !== from);
    gateway.use([service('m', { ready: others, unready: [addresses[from] ?? ''] })]);
    expect((await get(`${gateway.url}/v1/responses/${id}`)).status).toBe(503);
    expect(asked()).toBe(before);
    gateway.use([service('m', { ready: others })]);
    expect((await get(`${gateway.url}/v1/responses/${id}`)).status).toBe(200); // a server's own word
    expect(asked()).toBe(before + 1);
  });

  test('whose server is busy is answered so; nobody else is asked', async () => {
    const made = (await postJson(`${gateway.url}/v1/responses`, { model: 'm', input: 'x' })).text;
    const id = /resp_\w+/.exec(made)?.[0] ?? '';
    const before = backends.reduce((sum, { seen }) => sum + seen.length, 0);
    const answer = await get(`${gateway.url}/v1/responses/${id}?busy`);
    expect([answer.status, answer.headers.get('x-from')]).toEqual([503, /"from":(\d)/.exec(made)?.[1]]);
    expect(backends.reduce((sum, { seen }) => sum + seen.length, 0)).toBe(before + 1);
  });

  test('of another tenant is not gone on from', async () => {
    const [a, b] = [newKey({ tenant: 'a' }), newKey({ tenant: 'b' })];
    const ready = backends.map(({ address }) => address);
    useAccess(gateway, [service('m', { ready })], { mode: 'required', keys: [a.record, b.record] });
    const post = (key: string, body: object) =>
      postJson(
        `${gateway.url}/v1/responses`,
        { model: 'm', input: 'x', ...body },
        { authorization: `Bearer ${key}` },
      );
    const id = /resp_\w+/.exec((await post(a.key, {})).text)?.[0];
    const asked = () => backends.reduce((sum, { seen }) => sum + seen.length, 0);
    const before = asked();
    expect(await post(b.key, { previous_response_id: id })).toMatchObject({
      status: 404,
      body: { error: { code: 'response_not_found', param: 'previous_response_id' } },
    });
    // However it is spelled, and however much stands before it.
    const escaped = Array.from(id ?? '', (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
    const answer = await fetch(`${gateway.url}/v1/responses`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${b.key}` },
      body: `{"model":"m","input":"${'y'.repeat(5_000)}","previous_response_id":"${escaped.join('')}"}`,
    });
    expect(answer.status).toBe(404);
    expect(asked()).toBe(before);
    expect((await post(a.key, { previous_response_id: id })).status).toBe(200);
  });

  test('that nobody made here is 404, in words that its client knows', async () => {
    const answer = await get(`${gateway.url}/v1/responses/resp_none`);
    expect(answer).toMatchObject({ status: 404, body: { error: { code: 'response_not_found' } } });
  });
});
