import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chunks, completion, event, json } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

/** 20 MB in all: more than sockets and buffers hold. */
const large = event({ choices: [{ index: 0, delta: { content: 'x'.repeat(20_000) }, finish_reason: null }] });
const largeCount = 1_000;

describe('those that wait for the answer of a client that reads nothing', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  /** Of the requests so far, in order. */
  let responses: ServerResponse[];
  let slow: Socket;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    responses = [];
    backend = await startBackend((_seen, response) => {
      responses.push(response);
    });
    use({ entryBytesMax: 30_000_000 });
  });
  afterEach(async () => {
    slow.destroy();
    for (const response of responses) response.destroy();
    await gateway.close();
    await backend.close();
  });
  const use = (cache: Record<string, unknown>) => {
    gateway.use([service('tiny', { ready: [backend.address] })], {
      enabled: true,
      singleFlight: { waitMs: 600_000 },
      ...cache,
    });
  };
  const chat = (body: unknown) => postJson(`${gateway.url}/v1/chat/completions`, body);
  const waiting = (count: number) =>
    until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count);
  /** The first client asks. @returns what its server is to answer with */
  const begin = async (): Promise<ServerResponse> => {
    const url = new URL(gateway.url);
    const body = JSON.stringify(ask('hi', { stream: true }));
    slow = connect(Number(url.port), url.hostname);
    slow.on('error', () => undefined);
    slow.pause();
    slow.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await until(() => responses.length === 1);
    const [response] = responses;
    if (response === undefined) throw new Error('nobody asks');
    return response;
  };
  const sendLarge = (response: ServerResponse) => {
    const [first = '', , ...end] = chunks('x', false);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(first);
    for (let at = 0; at < largeCount; at += 1) response.write(large);
    for (const each of end) response.write(each);
    response.end();
  };
  /** Nothing more is taken of what the server sends. */
  const isHeldBack = async (response: ServerResponse) => {
    let before = -1;
    let looks = 0;
    await until(() => {
      const left = response.writableLength;
      looks = left > 0 && left === before ? looks + 1 : 0;
      before = left;
      return looks === 30;
    });
  };

  test('get it though they come once its server is held back', async () => {
    const response = await begin();
    sendLarge(response);
    await isHeldBack(response);
    const { headers, text } = await chat(ask('hi', { stream: true }));
    expect(headers.get('x-muster-cache-level')).toBe('flight');
    expect(text.length).toBeGreaterThan(largeCount * 20_000);
    expect(responses).toHaveLength(1);
  }, 30_000);

  test('ask for themselves as soon as it is too large to be shared', async () => {
    use({ entryBytesMax: 1_000_000 });
    const response = await begin();
    const others = [chat(ask()), chat(ask())];
    await waiting(2);
    sendLarge(response);
    await until(() => responses.length === 3);
    for (const each of responses.slice(1)) json(each, 200, completion('alone'));
    for (const { text } of await Promise.all(others)) expect(text).toContain('alone');
  }, 30_000);

  test('ask for themselves as soon as its head says that it may not be shared', async () => {
    const response = await begin();
    const other = chat(ask());
    await waiting(1);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(chunks('x', false)[0]);
    await until(() => responses.length === 2);
    for (const each of responses.slice(1)) json(each, 200, completion('alone'));
    expect((await other).text).toContain('alone');
  }, 30_000);

  test('let its server go when its client has left and it turns out that it cannot be shared', async () => {
    const response = await begin();
    const other = chat(ask());
    await waiting(1);
    slow.destroy();
    await sleep(50);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(chunks('x', false)[0]);
    await until(() => responses.length === 2);
    await until(() => response.closed);
    for (const each of responses.slice(1)) json(each, 200, completion('alone'));
    expect((await other).text).toContain('alone');
    await until(async () => (await gateway.metric('muster_gateway_in_flight')) === 1); // the scrape
  }, 30_000);
});
