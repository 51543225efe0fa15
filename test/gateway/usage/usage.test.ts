import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { startCountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import type { CountingGateway } from '../../fixtures/budget/counting-gateway.ts';
import { startBackend, startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, RawBackend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

let gateway: CountingGateway | null = null;
let backend: Backend | RawBackend | null = null;
afterEach(async () => {
  await gateway?.close();
  await backend?.close();
  [gateway, backend] = [null, null];
});

const priced = {
  prices: {
    models: [
      {
        model: 'chat',
        inputPerMillion: 1_000_000,
        cachedInputPerMillion: 100_000,
        outputPerMillion: 2_000_000,
        perRequest: 5,
      },
    ],
  },
};
const usage = { prompt_tokens: 12, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 2 } };
const json = (response: ServerResponse, status: number, body: object): void => {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
};
const event = (fields: object): string => `data: ${JSON.stringify(fields)}\n\n`;
const done = 'data: [DONE]\n\n';
const chunks = ['a', 'b', 'c'].map((content) =>
  event({
    id: 'x',
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta: { content } }],
    usage: null,
  }),
);
const usageEvent = event({ id: 'x', object: 'chat.completion.chunk', choices: [], usage });
const stream = (parts: readonly string[]): Respond => {
  return (_seen, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(parts.join(''));
  };
};

async function start(respond: Respond, policy: object = priced): Promise<Backend> {
  const made = await startBackend(respond);
  backend = made;
  gateway = await startCountingGateway([service('chat', { ready: [made.address] })], policy);
  return made;
}
const ask = (body: object, path = '/v1/chat/completions') =>
  postJson(`${gateway!.url}${path}`, { model: 'chat', messages: [], ...body });

describe('usage of answers', () => {
  test('is said in headers, sums and to the ledger, with its price', async () => {
    await start((_seen, response) => {
      json(response, 200, { choices: [], usage });
    });
    const { headers, body } = await ask({});
    expect(body).toEqual({ choices: [], usage });
    expect(headers.get('x-muster-input-tokens')).toBe('12');
    expect(headers.get('x-muster-output-tokens')).toBe('3');
    // 10 at 1, 2 cached at 0.1, 3 at 2, and 5 for the request, rounded once.
    expect(headers.get('x-muster-cost')).toBe('21');
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({
      usage: { inputTokens: 12, cachedInputTokens: 2, outputTokens: 3 },
      costMicros: 21,
      isEstimated: false,
    });
    expect(gateway!.logs).toContainEqual(
      expect.objectContaining({ inputTokens: 12, cachedInputTokens: 2, outputTokens: 3, costMicros: 21 }),
    );
    const { text } = await get(`${gateway!.url}/metrics`);
    const labels = '{namespace="default",service="chat",model="chat",tenant=""}';
    expect(text).toContain(`muster_gateway_usage_input_tokens_total${labels} 12`);
    expect(text).toContain(`muster_gateway_usage_cached_input_tokens_total${labels} 2`);
    expect(text).toContain(`muster_gateway_usage_output_tokens_total${labels} 3`);
    expect(text).toContain(`muster_gateway_usage_cost_micros_total${labels} 21`);
    expect(text).toContain(`muster_gateway_usage_requests_total${labels} 1`);
  });

  test.each([
    ['an error of the server', 400],
    ['a server that is broken', 500],
  ])('does not charge %s', async (_name, status) => {
    await start((_seen, response) => {
      json(response, status, { error: { message: 'no' }, usage });
    });
    expect((await ask({})).status).toBe(status);
    await until(async () => (await get(`${gateway!.url}/metrics`)).text.includes(`code="${status}"`));
    expect(gateway!.used).toEqual([]);
  });

  test('charges V1 and V2 requests by the request, without tokens', async () => {
    await start((_seen, response) => {
      json(response, 200, { predictions: [1], usage });
    });
    await postJson(`${gateway!.url}/v1/models/chat:predict`, { instances: [1] });
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({ usage: null, costMicros: 5 });
  });

  test('estimates an answer that does not tell, and says so', async () => {
    await start((_seen, response) => {
      json(response, 200, { choices: [{ message: { content: 'x'.repeat(400) } }] });
    });
    await ask({});
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({ isEstimated: true });
    expect(gateway!.used[0]?.usage?.outputTokens).toBeGreaterThan(100);
    expect(gateway!.logs).toContainEqual(expect.objectContaining({ isUsageEstimated: true }));
  });
});

describe('usage of streams', () => {
  test('is asked of the server in the place of a client that did not, and kept from it', async () => {
    const made = await start(stream([...chunks, usageEvent, done]));
    const { text } = await ask({ stream: true });
    expect(text).toBe([...chunks, done].join(''));
    const sent = JSON.parse(made.seen[0]!.body.toString()) as Record<string, unknown>;
    expect(sent).toEqual({
      stream_options: { include_usage: true },
      model: 'chat',
      messages: [],
      stream: true,
    });
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({
      usage: { inputTokens: 12, cachedInputTokens: 2, outputTokens: 3 },
      isEstimated: false,
    });
  });

  test('reaches a client that asked for it', async () => {
    await start(stream([...chunks, usageEvent, done]));
    const { text } = await ask({ stream: true, stream_options: { include_usage: true } });
    expect(text).toBe([...chunks, usageEvent, done].join(''));
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({ isEstimated: false, costMicros: 21 });
  });

  test('is not asked for where nothing counts', async () => {
    const made = await start(stream([...chunks, done]), {});
    await ask({ stream: true });
    expect(made.seen[0]!.body.toString()).not.toContain('stream_options');
  });

  test.each([
    ['the client has options of its own', { stream_options: {} }],
    ['the server does not know the option', {}],
  ])('is estimated when %s', async (_name, more) => {
    const made = await start(stream([...chunks, done]));
    const { text } = await ask({ stream: true, ...more });
    expect(text).toBe([...chunks, done].join(''));
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({ isEstimated: true });
    expect(gateway!.used[0]?.usage?.outputTokens).toBe(3);
    expect(gateway!.used[0]?.usage?.inputTokens).toBe(Math.ceil(made.seen[0]!.body.length / 4));
  });

  test('is estimated when its client leaves', async () => {
    await start((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(chunks.slice(0, 2).join(''));
    });
    const body = JSON.stringify({ model: 'chat', messages: [], stream: true });
    const client = httpRequest(`${gateway!.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    });
    client.on('error', () => undefined);
    client.on('response', (response) => {
      response.once('data', () => client.destroy());
    });
    client.end(body);
    await until(() => gateway!.used.length === 1);
    expect(gateway!.used[0]).toMatchObject({ isEstimated: true });
  });

  test('is kept from the client wherever the bytes of the server are cut', async () => {
    const text = [...chunks, usageEvent, done].join('');
    let cut = 0;
    const raw = await startRawBackend((socket, received) => {
      if (!received.includes('\r\n\r\n') || !received.includes('"chat"')) return;
      const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n';
      socket.setNoDelay(true);
      socket.write(head + text.slice(0, cut));
      setTimeout(() => socket.end(text.slice(cut)), 2);
    });
    backend = raw;
    gateway = await startCountingGateway([service('chat', { ready: [raw.address] })], priced);
    const begin = chunks.join('').length - 3;
    for (cut = begin; cut <= text.length; cut += 3) {
      expect((await ask({ stream: true })).text).toBe([...chunks, done].join(''));
    }
    await until(() => gateway!.used.length === Math.floor((text.length - begin) / 3) + 1);
    for (const one of gateway.used) expect(one).toMatchObject({ costMicros: 21, isEstimated: false });
  });
});

describe('an event stream', () => {
  test('that says its length is whole without the event that was taken out', async () => {
    const text = [...chunks, usageEvent, done].join('');
    await start((_seen, response) => {
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'content-length': Buffer.byteLength(text),
      });
      response.end(text);
    });
    const answer = await ask({ stream: true });
    expect(answer.text).toBe([...chunks, done].join(''));
    expect(answer.headers.has('content-length')).toBe(false);
  });

  test.each([priced, {}])('that is compressed passes byte by byte, and its cut is a cut', async (policy) => {
    const packed = gzipSync([...chunks, usageEvent].join(''));
    let isCut = false;
    const server = await start((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
      if (!isCut) response.end(packed);
      else {
        response.write(packed.subarray(0, 20));
        setTimeout(() => response.destroy(), 50);
      }
    }, policy);
    const answer = await ask({ stream: true });
    expect(answer.text).toBe([...chunks, usageEvent].join(''));
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    // Fetch asks for gzip; a server is not told so where its stream is to be read.
    expect(server.seen[0]?.headers['accept-encoding']).toBeUndefined();
    isCut = true;
    await expect(ask({ stream: true })).rejects.toThrow();
  });
});

test('a V1 request that others wait for costs its price, though its client left before the answer', async () => {
  const held: ServerResponse[] = [];
  await start((_seen, response) => void held.push(response), {
    ...priced,
    cache: { enabled: true, kserve: true },
  });
  const url = `${gateway!.url}/v1/models/chat:predict`;
  const body = '{"instances":[1]}';
  const first = httpRequest(url, { method: 'POST' });
  first.on('error', () => undefined);
  first.end(body);
  await until(() => held.length === 1);
  const waits = httpRequest(url, { method: 'POST' });
  const answered = new Promise<number | undefined>((resolve) => {
    waits.on('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
  });
  waits.end(body);
  await until(async () =>
    (await get(`${gateway!.url}/metrics`)).text.includes('muster_gateway_cache_waiting 1\n'),
  );
  first.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50)); // the gateway sees it leave
  json(held[0]!, 200, { predictions: [1] });
  expect(await answered).toBe(200);
  await until(() => gateway!.used.length === 1);
  expect(gateway!.used[0]?.costMicros).toBe(5);
});
