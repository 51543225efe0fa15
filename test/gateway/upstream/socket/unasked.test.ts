import { afterEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { SocketStats } from '../../../../gateway/upstream/socket/stats.ts';
import { socketUpstreams } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import type { Upstream } from '../../../../gateway/upstream/upstream.ts';
import { TurnWrites } from '../../../../gateway/turn-writes.ts';
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

  /** With one connection, over which it has answered, and may speak unasked. @param writes of its requests */
  async function idleServer(
    writes = new TurnWrites(),
  ): Promise<{ upstream: Upstream; backend: RawBackend; speak: () => void }> {
    const sockets: Socket[] = [];
    const backend = await startRawBackend((socket, received) => {
      if (received.subarray(-4).toString() === '\r\n\r\n') socket.write(ok);
      sockets.push(socket.setNoDelay(true)); // else what it says next waits until its answer is acknowledged
    });
    stats = new SocketStats();
    const upstream = socketUpstreams({
      stats,
      writes,
      nowMs: () => performance.now(),
      isScribbling: true,
    })(backend.address);
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

  test.each([
    ['waits for the end of its turn', false],
    ['is written at once, since requests come alone', true],
  ])('what a server says before the request that %s is nobody’s answer', async (_when, isReading) => {
    const writes = new TurnWrites();
    const { upstream, backend, speak } = await idleServer(writes);
    writes.listen({ isReading, beforeWrites: () => undefined, afterWrites: () => undefined });
    for (let time = 0; time < 8; time += 1) await ask(upstream, get).outcome;
    const { deferred } = writes;
    // A timer's turn: what has come in it is read before its end.
    const outcome = await new Promise<Seen>((resolve) => {
      setTimeout(() => {
        speak();
        void ask(upstream, get).outcome.then(resolve);
      }, 1);
    });
    expect(writes.deferred - deferred).toBe(isReading ? 0 : 1);
    expect(text(outcome)).toBe('');
    expect(outcome.failure).toMatchObject({ kind: 'reset', isStale: true });
    expect(text(await ask(upstream, get).outcome)).toBe('ok');
    expect(backend.received).toHaveLength(2); // connections
    const asked = backend.received[0]?.toString().split('GET /').length ?? 0;
    expect(asked - 1).toBeLessThanOrEqual(isReading ? 10 : 9); // one that waited has not left
  });
});
