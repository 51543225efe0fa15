import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { connect } from 'node:net';
import { refusingAddress, startBackend, startRawBackend } from '../fixtures/gateway/backends.ts';
import { until } from '../fixtures/gateway/control-api.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { postJson, startTestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';

const chat = { model: 'tiny', messages: [{ role: 'user', content: 'hi' }] };
const closers: (() => Promise<void>)[] = [];

describe('the gateway when a server misbehaves', () => {
  let gateway: TestGateway;
  beforeEach(async () => {
    gateway = await startTestGateway({ headersMs: 300, bodyIdleMs: 300, retryWindowMs: 500 });
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });
  const ask = () => postJson(`${gateway.url}/v1/chat/completions`, chat);
  async function good() {
    const backend = await startBackend((_seen, response) => response.end('{"ok":true}'));
    closers.push(() => backend.close());
    return backend;
  }
  async function raw(onData: Parameters<typeof startRawBackend>[0]) {
    const backend = await startRawBackend(onData);
    closers.push(() => backend.close());
    return backend;
  }
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: ';

  test('a refused connection goes to another endpoint, and that one is left alone for a moment', async () => {
    const backend = await good();
    gateway.use([service('tiny', { ready: [await refusingAddress(), backend.address] })]);
    for (let i = 0; i < 10; i += 1) expect((await ask()).status).toBe(200);
    expect(backend.seen).toHaveLength(10);
  });

  test('nothing but refusals: 502 or 503 in the protocol of the caller, with Retry-After', async () => {
    gateway.use([service('tiny', { ready: [await refusingAddress()] })]);
    const answer = await ask();
    expect([502, 503]).toContain(answer.status);
    expect(answer.body).toMatchObject({
      error: { message: expect.any(String) as unknown, type: expect.any(String) as unknown },
    });
  });

  test('a reset before any answer is repeated once, on another endpoint', async () => {
    const bad = await raw((socket) => socket.resetAndDestroy());
    const backend = await good();
    gateway.use([service('tiny', { ready: [bad.address, backend.address] })]);
    for (let i = 0; i < 6; i += 1) expect((await ask()).status).toBe(200);
  });

  test('a server that says nothing is a 504', async () => {
    const bad = await raw(() => undefined);
    gateway.use([service('tiny', { ready: [bad.address] })]);
    const answer = await ask();
    expect(answer.status).toBe(504);
    expect(bad.received).toHaveLength(1);
  });

  test("a service's own timeout is kept", async () => {
    await gateway.close();
    gateway = await startTestGateway({});
    const bad = await raw(() => undefined);
    gateway.use([service('tiny', { ready: [bad.address], timeoutMs: 200 })]);
    expect((await ask()).status).toBe(504);
  });

  test.each(['not http at all\r\n\r\n', 'HTTP/1.1 abc\r\n\r\n', '\0\0\0\0'])(
    'garbage %p is a 502',
    async (garbage) => {
      const bad = await raw((socket) => socket.write(garbage));
      gateway.use([service('tiny', { ready: [bad.address] })]);
      expect((await ask()).status).toBe(502);
    },
  );

  test('a stream that is cut ends with an explicit error event, never in silence', async () => {
    const bad = await raw((socket) => {
      const event = 'data: {"a":1}\n\n';
      socket.write(
        `${head}text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${event.length.toString(16)}\r\n${event}\r\n`,
      );
      setTimeout(() => socket.resetAndDestroy(), 50);
    });
    gateway.use([service('tiny', { ready: [bad.address] })]);
    const { text } = await ask();
    expect(text).toContain('data: {"a":1}');
    expect(text).toContain('"error"');
    expect(text).not.toContain('[DONE]');
  });

  test('a large plain answer that is cut is cut for the caller too', async () => {
    const bad = await raw((socket) => {
      socket.write(`${head}application/json\r\ncontent-length: 10000000\r\n\r\n{"half":`);
      setTimeout(() => socket.destroy(), 50);
    });
    gateway.use([service('tiny', { ready: [bad.address] })]);
    await expect(ask()).rejects.toThrow();
  });

  test('a stream that stops moving is broken off', async () => {
    const bad = await raw((socket) =>
      socket.write(`${head}text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\na\n\n\r\n`),
    );
    gateway.use([service('tiny', { ready: [bad.address] })]);
    expect((await ask()).text).toContain('"error"');
  });

  test('a caller who leaves ends the request at the server', async () => {
    let closed = false;
    const backend = await startBackend((_seen, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      response.on('close', () => (closed = true));
    });
    closers.push(() => backend.close());
    gateway.use([service('tiny', { ready: [backend.address] })]);
    const leaving = new AbortController();
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(chat),
      signal: leaving.signal,
    });
    await answer.body!.getReader().read();
    leaving.abort();
    await until(() => closed);
    expect(closed).toBe(true);
  });

  test('a slow reader gets every byte of a large answer', async () => {
    const large = Buffer.alloc(8 * 1024 * 1024, 'x');
    const backend = await startBackend((_seen, response) => response.end(large));
    closers.push(() => backend.close());
    gateway.use([service('tiny', { ready: [backend.address] })]);
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(chat),
    });
    let length = 0;
    for await (const chunk of answer.body!) {
      length += (chunk as Uint8Array).length;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(length).toBe(large.length);
  });

  test('a body over the limit is refused in the protocol of the caller', async () => {
    await gateway.close();
    gateway = await startTestGateway({ bodyBytesMax: 1000 });
    gateway.use([service('tiny', { ready: [(await good()).address] })]);
    const answer = await postJson(`${gateway.url}/v1/chat/completions`, {
      ...chat,
      filler: 'x'.repeat(2000),
    });
    expect(answer).toMatchObject({
      status: 413,
      body: { error: { message: expect.any(String) as unknown } },
    });
  });

  test('a request that is no HTTP is answered or cut, and the gateway goes on', async () => {
    gateway.use([service('tiny', { ready: [(await good()).address] })]);
    const { port, hostname } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => undefined);
    socket.resume();
    socket.write('\x16\x03\x01garbage\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect((await ask()).status).toBe(200);
  });
});
