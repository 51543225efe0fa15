import { afterEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { SocketStats } from '../../../../gateway/upstream/socket/stats.ts';
import { socketUpstreams } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import type { SocketOptions } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import type { SocketLimits } from '../../../../gateway/upstream/socket/limits.ts';
import { CommonHeaders } from '../../../../gateway/upstream/upstream.ts';
import type { Upstream, UpstreamRequest } from '../../../../gateway/upstream/upstream.ts';
import { echo, startBackend, startRawBackend } from '../../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../../fixtures/gateway/backends.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';
import { ask, text } from '../../../fixtures/upstream/ask.ts';

const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const isAsked = (received: Buffer) => received.subarray(-4).toString() === '\r\n\r\n';
const get = { method: 'GET' };

describe('connections to servers', () => {
  const closers: (() => void | Promise<void>)[] = [];
  let stats = new SocketStats();
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    stats = new SocketStats();
  });
  function open(
    address: string,
    limits: Partial<SocketLimits> = {},
    more: Partial<SocketOptions> = {},
  ): Upstream {
    const upstream = socketUpstreams({
      limits,
      stats,
      nowMs: () => performance.now(),
      isScribbling: true,
      ...more,
    })(address);
    closers.push(() => {
      upstream.close();
    });
    return upstream;
  }
  async function raw(onData: (socket: Socket, received: Buffer) => void): Promise<RawBackend> {
    const backend = await startRawBackend(onData);
    closers.push(() => backend.close());
    return backend;
  }
  const polite = () =>
    raw((socket, received) => {
      if (isAsked(received)) socket.write(ok);
    });

  test.each([true, false])(
    'a client that is slow before the connection is made takes no time limit away (resumed: %p)',
    async (isResumed) => {
      const silent = await raw(() => undefined); // never speaks TLS
      const upstream = open(silent.address.replace('http:', 'https:'), { connectMs: 200 });
      const failure = await new Promise<{ code: string }>((resolve) => {
        const call = upstream.send(
          { method: 'GET', path: '/', headers: [], body: null, headersMs: 60_000, bodyIdleMs: 60_000 },
          {
            onSent: () => undefined,
            onHead: () => undefined,
            onData: () => undefined,
            onEnd: () => undefined,
            onFailure: resolve,
          },
        );
        call.pause();
        if (isResumed) call.resume();
      });
      expect(failure.code).toBe('CONNECT_TIMEOUT');
    },
  );

  describe('when the answer is cut after byte k, for all k', () => {
    const event = 'data: {"a":1}\n\n';
    const chunk = `${event.length.toString(16)}\r\n${event}\r\n`;
    test.each([
      ['a length', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello'],
      ['chunks', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nt: u\r\n\r\n'],
      [
        'events',
        `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${chunk}${chunk}0\r\n\r\n`,
      ],
    ])('a response with %s is a reset, and never whole', async (_name, response) => {
      for (const end of [(s: Socket) => s.end(), (s: Socket) => s.resetAndDestroy()]) {
        let cut = 0;
        const backend = await raw((socket, received) => {
          if (!isAsked(received)) return;
          const part = response.slice(0, cut);
          if (part === '') end(socket);
          else socket.write(part, () => setImmediate(() => end(socket)));
        });
        const upstream = open(backend.address);
        for (cut = 0; cut < response.length; cut += 1) {
          const seen = await ask(upstream, get).outcome;
          expect([cut, seen.failure?.kind, seen.events.includes('end')]).toEqual([cut, 'reset', false]);
        }
        const whole = await ask(upstream, get).outcome;
        expect(whole.failure).toBeNull();
      }
      expect(stats.idle).toBeLessThanOrEqual(2);
    });
  });

  test.each([
    ['not modified, with a length', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n', 'GET'],
    [
      'after informational heads',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n${ok}`,
      'GET',
    ],
    ['to HEAD, with a length', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', 'HEAD'],
  ])('an answer %s leaves its connection good for the next', async (_name, answer, method) => {
    const backend = await raw((socket, received) => {
      if (isAsked(received)) socket.write(answer);
    });
    const upstream = open(backend.address);
    for (let i = 0; i < 3; i += 1) expect((await ask(upstream, { method }).outcome).failure).toBeNull();
    expect(backend.received).toHaveLength(1);
  });

  test.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok', 'garbage'],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      'garbage',
    ],
  ])('an answer with %s is garbage', async (_name, answer, kind) => {
    const backend = await raw((socket) => socket.write(answer));
    expect((await ask(open(backend.address), get).outcome).failure?.kind).toBe(kind);
  });

  test('bytes behind an answer cost its connection, not the answer', async () => {
    const backend = await raw((socket) =>
      socket.write(`${ok}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`),
    );
    const upstream = open(backend.address);
    for (let i = 0; i < 3; i += 1) expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(3);
  });

  test('an answer that comes before the request is whole counts, and its connection is not used again', async () => {
    const backend = await raw((socket, received) => {
      if (received.length < 70_000)
        socket.pause().write('HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno');
    });
    const upstream = open(backend.address);
    for (let i = 0; i < 2; i += 1) {
      const seen = await ask(upstream, { body: Buffer.alloc(16 * 1024 * 1024) }).outcome;
      expect([seen.failure, seen.status, text(seen)]).toEqual([null, 413, 'no']);
    }
    expect(backend.received).toHaveLength(2);
  });

  test('a connection that its server closed while idle is not used; one lost in that moment is told as stale', async () => {
    let isKind = true;
    const backend = await raw((socket, received) => {
      if (!isAsked(received)) return;
      if (isKind) socket.write(ok);
      else socket.resetAndDestroy();
    });
    const upstream = open(backend.address);
    await ask(upstream, get).outcome;
    isKind = false;
    expect((await ask(upstream, get).outcome).failure).toMatchObject({ kind: 'reset', isStale: true });
    expect((await ask(upstream, get).outcome).failure).toMatchObject({ kind: 'reset', isStale: false });
    expect(stats.stale).toBe(1);
  });

  test('the connection used last is used first; the others close after their time', async () => {
    const backend = await startBackend((_seen, response) => setTimeout(() => response.end('ok'), 20));
    closers.push(() => backend.close());
    const upstream = open(backend.address, { idleMs: 100 });
    await Promise.all(Array.from({ length: 5 }, () => ask(upstream).outcome));
    expect([stats.connections, stats.idle]).toEqual([5, 5]);
    for (let i = 0; i < 12; i += 1) await ask(upstream).outcome;
    expect(stats.idle).toBe(1);
    await until(() => stats.connections === 0);
    expect([stats.idle, stats.opened, stats.reused]).toEqual([0, 5, 12]);
  });

  test('no more idle connections are kept than may be', async () => {
    const backend = await startBackend((_seen, response) => setTimeout(() => response.end('ok'), 20));
    closers.push(() => backend.close());
    const upstream = open(backend.address, { idleMax: 2 });
    await Promise.all(Array.from({ length: 6 }, () => ask(upstream).outcome));
    expect(stats.idle).toBe(2);
    await until(() => stats.connections === 2);
  });

  test("a server's own word on how long it keeps connections is heeded", async () => {
    const backend = await raw((socket, received) => {
      if (isAsked(received))
        socket.write('HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 0\r\n\r\n');
    });
    const upstream = open(backend.address);
    for (let i = 0; i < 2; i += 1) await ask(upstream, get).outcome;
    expect(backend.received).toHaveLength(2);
  });

  test('more requests than connections wait, first come first served', async () => {
    const backend = await startBackend((seen, response) => setTimeout(() => response.end(seen.url), 5));
    closers.push(() => backend.close());
    const upstream = open(backend.address, { connectionsMax: 2, connectMs: 10_000 });
    const order: string[] = [];
    const all = Array.from({ length: 20 }, (_, i) =>
      ask(upstream, { path: `/${i}` }).outcome.then((seen) => order.push(text(seen))),
    );
    expect([stats.connections, stats.waiting]).toEqual([2, 18]);
    await Promise.all(all);
    expect(order.slice(0, 4).sort()).toEqual(['/0', '/1', '/2', '/3']);
    expect(order).toHaveLength(20);
    expect([stats.opened, stats.waiting, stats.refused]).toEqual([2, 0, 0]);
  });

  test('waiting has an end, and so has the number of those who wait', async () => {
    const backend = await raw(() => undefined);
    const upstream = open(backend.address, { connectionsMax: 1, waitersMax: 1, connectMs: 200 });
    const first = ask(upstream, get);
    const second = ask(upstream, get);
    const third = ask(upstream, get);
    const refused = { kind: 'refused', code: 'NO_CONNECTION_FREE' };
    expect((await third.outcome).failure).toMatchObject(refused);
    expect(second.seen.events).toEqual([]);
    expect((await second.outcome).failure).toMatchObject(refused);
    expect([stats.waiting, stats.refused]).toEqual([0, 2]);
    first.call.abort();
    expect(stats.connections).toBe(0);
  });

  test('a request that leaves while it waits makes room, and is never sent', async () => {
    const backend = await polite();
    const upstream = open(backend.address, { connectionsMax: 1, connectMs: 10_000 });
    const first = ask(upstream, get);
    const second = ask(upstream, { ...get, path: '/left' });
    const third = ask(upstream, get);
    second.call.abort();
    expect(stats.waiting).toBe(1);
    await Promise.all([first.outcome, third.outcome]);
    expect(backend.received[0]!.toString()).not.toContain('/left');
    expect(second.seen.events).toEqual([]);
  });

  test('a place that a lost connection leaves goes to who waits', async () => {
    let isFirst = true;
    const backend = await raw((socket, received) => {
      if (!isAsked(received)) return;
      if (isFirst) socket.resetAndDestroy();
      else socket.write(ok);
      isFirst = false;
    });
    const upstream = open(backend.address, { connectionsMax: 1, connectMs: 10_000 });
    const [lost, served] = await Promise.all([ask(upstream, get).outcome, ask(upstream, get).outcome]);
    expect([lost.failure?.kind, served.failure]).toEqual(['reset', null]);
  });

  test('closing ends idle connections now and busy ones after their answer', async () => {
    const backend = await startBackend((_seen, response) => setTimeout(() => response.end('ok'), 30));
    closers.push(() => backend.close());
    const upstream = open(backend.address);
    await Promise.all([ask(upstream).outcome, ask(upstream).outcome]);
    const last = ask(upstream).outcome;
    upstream.close();
    expect(stats.idle).toBe(0);
    expect(text(await last)).toBe('ok');
    expect(stats.connections).toBe(0);
  });

  test.each<[string, Partial<UpstreamRequest>]>([
    // The rules: request-bytes.test.ts.
    ['a line break in a value', { headers: ['x', 'a\r\nx-evil: 1'] }],
    ['a line break in a shared value', { common: new CommonHeaders(['x', 'a\r\nx-evil: 1']) }],
    ['a space in the path', { path: '/a HTTP/1.1' }],
  ])('a request with %s is not sent, and its connection is good for the next', async (_name, request) => {
    const backend = await polite();
    const upstream = open(backend.address);
    const seen = await ask(upstream, { ...get, ...request }).outcome;
    expect(seen.events).toEqual(['failure']);
    expect(seen.failure?.code).toBe('BAD_REQUEST_HEAD');
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(1);
    expect(backend.received[0]!.toString()).toMatch(/^GET \/ HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n\r\n$/);
  });

  test('nothing in a request or an answer leads to another server', async () => {
    const secret = await startBackend(echo);
    const moved = await startBackend((_seen, response) => {
      response.writeHead(307, {
        location: `${secret.address}/secret`,
        'alt-svc': `h2="${secret.address}"`,
        refresh: `0;url=${secret.address}`,
      });
      response.end();
    });
    closers.push(
      () => secret.close(),
      () => moved.close(),
    );
    const upstream = open(moved.address);
    const headers = [
      'host',
      secret.address.slice(7),
      'forwarded',
      `host=${secret.address}`,
      'x-forwarded-host',
      secret.address,
    ];
    for (const path of ['/', `//${secret.address.slice(7)}/`, `/@${secret.address.slice(7)}`, '/..//..']) {
      const seen = await ask(upstream, { method: 'GET', path, headers }).outcome;
      expect([seen.status, seen.headers['location']]).toEqual([307, `${secret.address}/secret`]);
    }
    expect([moved.seen.length, secret.seen.length]).toEqual([4, 0]);
  });

  test.each([
    'ftp://a:1',
    'http://user:pw@a:1',
    'http://a:1/path',
    'http://a:1?x',
    'http://a:1#x',
    'http://',
    'unix:/x',
  ])('an address such as %p is none', (address) => {
    expect(() => open(address)).toThrow();
  });

  test("a handler's own fault ends its request and connection, and no other", async () => {
    const faults: unknown[] = [];
    const backend = await polite();
    const upstream = open(backend.address, {}, { onFault: (error) => faults.push(error) });
    for (const where of ['onHead', 'onData'] as const) {
      const seen = await ask(upstream, get, {
        [where]: () => {
          throw new Error('ours');
        },
      }).outcome;
      expect(seen.failure).toMatchObject({ code: 'HANDLER_FAILED', message: 'ours' });
    }
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(3);
    expect(faults).toEqual([]);
    const handler = {
      onSent: () => undefined,
      onHead: () => undefined,
      onData: () => undefined,
      onFailure: () => undefined,
      onEnd: () => {
        throw new Error('late');
      },
    };
    upstream.send(
      { method: 'GET', path: '/', headers: [], body: null, headersMs: 1e4, bodyIdleMs: 1e4 },
      handler,
    );
    await until(() => faults.length === 1);
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
  });
});
