import { afterEach, describe, expect, test } from '@jest/globals';
import { SocketStats } from '../../../../gateway/upstream/socket/stats.ts';
import { socketUpstreams } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import { startRawBackend } from '../../../fixtures/gateway/backends.ts';
import { ask } from '../../../fixtures/upstream/ask.ts';

describe('a connection that was used before and is lost without a byte of an answer', () => {
  const closers: (() => void | Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  /** What becomes of a second request, whose server resets its connection after this time. */
  async function loseAfter(delayMs: number, headersMs: number) {
    let count = 0;
    const backend = await startRawBackend((socket, received) => {
      if (received.subarray(-4).toString() !== '\r\n\r\n') return;
      count += 1;
      if (count === 1) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      else setTimeout(() => socket.resetAndDestroy(), delayMs);
    });
    const stats = new SocketStats();
    const upstream = socketUpstreams({ stats, nowMs: () => performance.now() })(backend.address);
    closers.push(() => {
      upstream.close();
    }, backend.close);
    const request = { method: 'GET', headersMs };
    await ask(upstream, request).outcome;
    const { failure } = await ask(upstream, request).outcome;
    expect(stats.reused).toBe(1);
    return { failure, stale: stats.stale };
  }

  test.each([200, 300_000])(
    'at once is told as stale, also where a head must come within %i ms: its server had closed it',
    async (headersMs) => {
      const { failure, stale } = await loseAfter(0, headersMs);
      expect([failure, stale]).toMatchObject([{ kind: 'reset', isStale: true }, 1]);
    },
  );

  test('long after its request was sent is not: its server has worked on it', async () => {
    const { failure, stale } = await loseAfter(1_200, 300_000);
    expect([failure, stale]).toMatchObject([{ kind: 'reset', isStale: false }, 0]);
  });
});
