import { afterEach, describe, expect, test } from '@jest/globals';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { startTestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { dial } from '../../fixtures/front/front.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

describe('a gateway that is told to stop under load', () => {
  test('answers every request that it took: clients that heed connection: close lose none', async () => {
    const backend = await startBackend((_seen, response) => setTimeout(() => response.end('{"ok":true}'), 5));
    closers.push(() => backend.close());
    const gateway = await startTestGateway({ drainGraceMs: 300 }, [
      service('tiny', { ready: [backend.address] }),
    ]);
    closers.push(() => gateway.close());
    const port = Number(new URL(gateway.url).port);
    const body = '{"model":"tiny"}';
    const request = `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    let sent = 0;
    let answered = 0;
    const lost: string[] = [];
    /** One connection after another, each used until the gateway says that it ends. */
    const caller = async (): Promise<void> => {
      for (;;) {
        const client = await dial(port).catch(() => null);
        if (client === null) return; // refused: nothing was sent
        for (let isFirst = true; ; isFirst = false) {
          client.text = '';
          sent += 1;
          client.socket.write(request);
          while (client.answers().length === 0 && !client.socket.closed) await new Promise(setImmediate);
          const [answer] = client.answers();
          if (answer?.status !== 200) {
            // A connection that was in the queue of the system when the port closed was never taken.
            if (!isFirst || client.text !== '' || client.error === '') lost.push(client.error || client.text);
            sent -= 1;
            return;
          }
          answered += 1;
          if (answer.headers['connection'] === 'close') break;
        }
        client.socket.destroy();
      }
    };
    const callers = Array.from({ length: 16 }, caller);
    await until(() => answered > 100);
    gateway.drain();
    await gateway.app.close();
    await Promise.all(callers);
    expect(lost).toEqual([]);
    expect(answered).toBe(sent);
    expect(backend.seen.length).toBe(answered);
  }, 30_000);
});
