import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chunks, completion } from '../../fixtures/cache/openai-server.ts';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

describe('an answer that is cut at any byte', () => {
  let gateway: CachedGateway;
  let backend: RawBackend;
  /** What the server sends; it closes, or resets, the connection behind it. */
  let bytes: string;
  let end: (socket: Socket) => void;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    backend = await startRawBackend((socket, received) => {
      if (!received.includes('\r\n\r\n') || !received.includes('"messages"')) return;
      socket.write(bytes, () => {
        end(socket);
      });
    });
    end = (socket) => socket.destroy();
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true });
  });
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });
  const chat = (body: unknown, headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers).catch(() => null);

  const text = JSON.stringify(completion('one two'));
  const events = chunks('one two', true).join('');
  const answers: [string, string, boolean][] = [
    [
      'JSON of a known length',
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`,
      false,
    ],
    [
      'JSON in one chunk',
      `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
      false,
    ],
    [
      'a stream in one chunk',
      `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n${events.length.toString(16)}\r\n${events}\r\n0\r\n\r\n`,
      true,
    ],
    [
      'a stream until the connection closes',
      `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${events}`,
      true,
    ],
  ];
  test.each(answers)('is never kept as a part: %s', async (_what, whole, isStream) => {
    const options = { stream: isStream, ...(isStream ? { stream_options: { include_usage: true } } : {}) };
    for (let at = 1; at <= whole.length; at += 1) {
      bytes = whole.slice(0, at);
      const body = ask(`cut at ${at}`, options);
      await chat(body);
      const kept = await chat(body, { 'cache-control': 'only-if-cached' });
      if (kept?.status !== 200) continue;
      // Whoever kept it knew that it was whole: all of its text, its end, its usage.
      expect(kept.text).toContain(isStream ? '"content":"two"' : 'one two');
      expect(kept.text).toContain('"finish_reason":"stop"');
      expect(kept.text).toContain('"total_tokens":10');
      expect(kept.text.trimEnd().endsWith(isStream ? '[DONE]' : '}')).toBe(true);
      expect(at).toBeGreaterThan(whole.length - 60);
    }
    bytes = whole;
    await chat(ask('whole', options));
    expect((await chat(ask('whole', options)))?.headers.get('x-muster-cache')).toBe('hit');
  });
});
