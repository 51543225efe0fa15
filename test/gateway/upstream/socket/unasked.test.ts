import { afterEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { SocketStats } from '../../../../gateway/upstream/socket/stats.ts';
import { socketUpstreams } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import type { Upstream } from '../../../../gateway/upstream/upstream.ts';
import { startRawBackend } from '../../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../../fixtures/gateway/backends.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';
import { ask, text } from '../../../fixtures/upstream/ask.ts';
import type { Seen } from '../../../fixtures/upstream/ask.ts';

const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const get = { method: 'GET' };

describe('a server that speaks unasked', () => {
  const closers: (() => void | Promise<void>)[] = [];
  let stats = new SocketStats();
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  /** With one connection, over which it has answered once, and may speak unasked. */
  async function idleServer(): Promise<{ upstream: Upstream; backend: RawBackend; speak: () => void }> {
    const sockets: Socket[] = [];
    const backend = await startRawBackend((socket, received) => {
      if (received.subarray(-4).toString() === '\r\n\r\n') socket.write(ok);
      sockets.push(socket);
    });
    stats = new SocketStats();
    const upstream = socketUpstreams({ stats, nowMs: () => performance.now(), isScribbling: true })(
      backend.address,
    );
    closers.push(() => {
      upstream.close();
    }, backend.close);
    await ask(upstream, get).outcome;
    const forged = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged';
    return { upstream, backend, speak: () => sockets[0]!.write(forged) };
  }

  test('what an idle server says is nobody’s answer', async () => {
    const { upstream, backend, speak } = await idleServer();
    speak();
    await until(() => stats.connections === 0);
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(2);
  });

  test('what a server says between the taking of its connection and the leaving of the request is nobody’s answer', async () => {
    const { upstream, backend, speak } = await idleServer();
    // A timer's turn: what is written in it is read before its end, when the request would leave.
    const outcome = await new Promise<Seen>((resolve) => {
      setTimeout(() => {
        speak();
        void ask(upstream, get).outcome.then(resolve);
      }, 1);
    });
    expect(text(outcome)).toBe('');
    expect(outcome.failure).toMatchObject({ kind: 'reset', isStale: true });
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(2);
  });
});
