import { afterEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const json = '{"id":"x","choices":[{"index":0,"message":{"content":"hello"}}]}';
const event = (delta: string, finish: string) =>
  `data: {"id":"x","choices":[{"index":0,"delta":${delta},"finish_reason":${finish}}]}\n\n`;
const events = `${event('{"content":"he"}', 'null')}${event('{"content":"llo"}', 'null')}${event('{}', '"stop"')}data: [DONE]\n\n`;
const inChunks = (payload: string) => `${payload.length.toString(16)}\r\n${payload}\r\n`;
const ok = (type: string, rest: string) => `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n${rest}`;

/** What a client got: whole, or something that nobody can take for the whole. */
type Got = 'whole' | 'error' | 'broken';

describe('through the whole gateway, an answer that is cut after byte k, for all k,', () => {
  let gateway: TestGateway;
  let backend: RawBackend;
  afterEach(async () => {
    await gateway.close();
    await backend.close();
  });

  async function ask(whole: string, isStream: boolean): Promise<Got> {
    try {
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        signal: AbortSignal.timeout(5_000), // a client that waits in vain is a failure, too
        method: 'POST',
        body: JSON.stringify({ model: 'm', stream: isStream, messages: [{ role: 'user', content: 'hi' }] }),
      });
      const text = await answer.text();
      if (answer.status >= 500) return text.includes('"error"') ? 'error' : 'broken';
      if (text === whole) return 'whole';
      expect(isStream && text.includes('"error"')).toBe(true);
      // What was sent before the error is what the server said, and no event is torn.
      const said = text.slice(0, text.lastIndexOf('data: {"error"'));
      expect(whole.startsWith(said) && (said === '' || said.endsWith('\n\n'))).toBe(true);
      return 'error';
    } catch (error) {
      // fetch's word for a connection that was cut; its TypeError is not the one of the test's own realm
      if ((error as Error).name === 'TypeError') return 'broken';
      throw error;
    }
  }

  const bodies: [string, string, string, boolean][] = [
    ['with a length', ok('application/json', `content-length: ${json.length}\r\n\r\n${json}`), json, false],
    [
      'in chunks',
      ok(
        'application/json',
        `transfer-encoding: chunked\r\n\r\n${inChunks(json.slice(0, 20))}${inChunks(json.slice(20))}0\r\n\r\n`,
      ),
      json,
      false,
    ],
    [
      'of events',
      ok(
        'text/event-stream',
        `transfer-encoding: chunked\r\n\r\n${inChunks(events.slice(0, 100))}${inChunks(events.slice(100))}0\r\n\r\n`,
      ),
      events,
      true,
    ],
  ];
  const ends: [string, (socket: Socket) => void][] = [
    ['closed', (socket) => socket.end()],
    ['reset', (socket) => socket.resetAndDestroy()],
  ];
  const rows = bodies.flatMap(([name, response, whole, isStream]) =>
    ends.map(([how, end]) => ({
      name: `${name}, and the connection ${how}`,
      response,
      whole,
      isStream,
      end,
    })),
  );
  test.each(rows)(
    '$name',
    async ({ response, whole, isStream, end }) => {
      let cut = 0;
      backend = await startRawBackend((socket, received) => {
        const bodyAt = received.indexOf('\r\n\r\n') + 4;
        const length = Number(/content-length: (\d+)/.exec(received.toString())?.[1]);
        if (bodyAt < 4 || received.length < bodyAt + length) return;
        if (cut === 0) end(socket);
        else socket.write(response.slice(0, cut), () => setImmediate(() => end(socket)));
      });
      gateway = await startTestGateway({}, [service('m', { ready: [backend.address] })]);
      for (cut = 0; cut <= response.length; cut += 1) {
        const got = await ask(whole, isStream);
        if (cut === response.length) expect(got).toBe('whole');
        // All of a stream's events may be there while its framing is not.
        else if (!isStream || cut < response.indexOf('[DONE]'))
          expect([cut, got]).not.toEqual([cut, 'whole']);
      }
    },
    60_000,
  );
});
