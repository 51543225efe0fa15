import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Socket as NetSocket } from 'node:net';
import { startBackend, startRawBackend } from '../fixtures/gateway/backends.ts';
import type { Backend } from '../fixtures/gateway/backends.ts';
import { startTestGateway } from '../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../fixtures/gateway/gateway.ts';
import { service } from '../fixtures/gateway/tables.ts';

describe('what travels through the gateway besides bodies', () => {
  let gateway: TestGateway;
  let backend: Backend;
  beforeEach(async () => {
    backend = await startBackend((_seen, response) => {
      response.writeHead(200, [
        'content-type',
        'application/json',
        'set-cookie',
        'a=1',
        'set-cookie',
        'b=2',
        'x-engine',
        'yes',
        'keep-alive',
        'timeout=3',
        'x-request-id',
        'of-the-server',
      ]);
      response.end('{}');
    });
    gateway = await startTestGateway({}, [service('tiny', { ready: [backend.address] })]);
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });

  /** A request in full control of its head, over one socket; the answer as text once the server ends it. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { port, hostname } = new URL(gateway.url);
      let answer = '';
      const socket: Socket = connect(Number(port), hostname, () => socket.write(text));
      socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
      socket.on('end', () => {
        resolve(answer);
      });
      socket.on('error', reject);
    });
  const post = (path: string, head: string[], body: string, version = '1.1'): string =>
    [`POST ${path} HTTP/${version}`, 'host: x', `content-length: ${body.length}`, ...head, '', body].join(
      '\r\n',
    );

  test('headers that belong to one connection, or to the gateway, do not reach the server', async () => {
    const head = [
      'connection: close, x-hop',
      'x-hop: secret',
      'te: trailers',
      'proxy-authorization: Basic eA==',
      'x-muster-namespace: default',
      'authorization: Bearer of-the-caller',
      'x-custom: kept',
    ];
    const answer = await raw(post('/v1/completions', head, '{"model":"tiny"}'));
    expect(answer).toMatch(/^HTTP\/1.1 200/);
    const seen = backend.seen[0]?.headers ?? {};
    expect(seen).toMatchObject({ 'x-custom': 'kept' });
    for (const name of ['x-hop', 'te', 'proxy-authorization', 'x-muster-namespace', 'authorization'])
      expect(seen[name]).toBeUndefined();
    expect(seen.host).toBe(new URL(backend.address).host);
  });

  test('headers of the answer pass, repeated ones apart, and the request id is the one that the gateway used', async () => {
    const answer = await raw(
      post('/v1/completions', ['connection: close', 'x-request-id: mine'], '{"model":"tiny"}'),
    );
    expect(answer).toContain('set-cookie: a=1\r\nset-cookie: b=2\r\n');
    expect(answer).toContain('x-engine: yes');
    expect(/x-request-id: (.*)\r/.exec(answer)?.[1]).toBe('mine');
    expect(answer).not.toContain('of-the-server');
    expect(answer).not.toContain('timeout=3');
  });

  test('a chunked request is forwarded with its length', async () => {
    const status = await new Promise<number>((resolve, reject) => {
      const sent = httpRequest(`${gateway.url}/v1/completions`, { method: 'POST' }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      sent.on('error', reject);
      sent.write('{"model":');
      sent.end('"tiny"}');
    });
    expect(status).toBe(200);
    expect(backend.seen[0]?.headers).toMatchObject({ 'content-length': '16' });
    expect(backend.seen[0]?.headers['transfer-encoding']).toBeUndefined();
  });

  test('a whole URL in the request line is taken for its path', async () => {
    const answer = await raw(
      `GET http://x/v2/health/live?a=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`,
    );
    expect(answer).toContain('{"live":true}');
  });

  test.each([
    [
      'both lengths',
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'two lengths',
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\n{}{}',
    ],
    ['a header too large', `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`],
  ])('a request with %s is refused and its connection ended', async (_what, text) => {
    expect(await raw(text)).toMatch(/^HTTP\/1.1 4\d\d/);
    expect(backend.seen).toHaveLength(0);
  });

  test('an HTTP/1.0 client, to whom an end is an end, gets a reset when an answer is cut', async () => {
    const cutting = await startRawBackend((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n');
      setTimeout(() => socket.resetAndDestroy(), 20);
    });
    gateway.use([service('tiny', { ready: [cutting.address] })]);
    await expect(raw(post('/v1/completions', [], '{"model":"tiny"}', '1.0'))).rejects.toMatchObject({
      code: 'ECONNRESET',
    });
    await cutting.close();
  });

  test('bytes are sent at once, on both sides', async () => {
    // A paced stream would come in 40 ms clumps otherwise (Nagle against delayed acknowledgement).
    const spy = jest.spyOn(NetSocket.prototype, 'connect');
    const front = new Promise<Socket>((resolve) => gateway.app.server.once('connection', resolve));
    await raw(post('/v1/completions', ['connection: close'], '{"model":"tiny"}'));
    const upstream = spy.mock.contexts.find((_, index) => {
      const [args] = (spy.mock.calls[index] ?? []) as unknown[];
      return JSON.stringify(args).includes(new URL(backend.address).port);
    });
    spy.mockRestore();
    expect(noDelayOf(await front)).toBe(true);
    expect(noDelayOf(upstream)).toBe(true);
  });
});

/** node keeps what was asked of the socket under a symbol; there is no other way to read it back. */
function noDelayOf(socket: unknown): unknown {
  const symbol = Object.getOwnPropertySymbols(socket as object).find((s) => s.description === 'kSetNoDelay');
  return symbol === undefined ? undefined : (socket as Record<symbol, unknown>)[symbol];
}
