import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';
import { dial, startFront } from '../../../fixtures/front/front.ts';
import type { TestFront } from '../../../fixtures/front/front.ts';

/** Clients that do whatever they like at any moment, and answers that come whenever they like. */
type Move =
  | 'post'
  | 'get'
  | 'odd'
  | 'half'
  | 'body'
  | 'garbage'
  | 'wait'
  | 'pause'
  | 'resume'
  | 'end'
  | 'reset'
  | 'destroy';
const moves: readonly Move[] = [
  'post',
  'get',
  'odd',
  'half',
  'body',
  'garbage',
  'wait',
  'pause',
  'resume',
  'end',
  'reset',
  'destroy',
];
const bytes: Partial<Record<Move, string>> = {
  post: 'POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde',
  get: 'GET /g HTTP/1.1\r\nhost: x\r\n\r\n',
  odd: 'PUT /o HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde',
  half: 'POST /h HTTP/1.1\r\nhost: x\r\ncontent-le',
  body: 'POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\nabc',
  garbage: '\0\r\n\r\n',
};
type Reply = 'whole' | 'stream' | 'large' | 'late' | 'cut' | 'short' | 'throw';
const replies: readonly Reply[] = ['whole', 'stream', 'large', 'late', 'cut', 'short', 'throw'];

async function reply(exchange: Exchange, how: Reply): Promise<void> {
  if (how === 'throw') throw new Error('a step failed');
  if (how === 'late') await new Promise((resolve) => setTimeout(resolve, 5));
  exchange.start(200, how === 'stream' || how === 'large' ? [] : ['content-length', '4']);
  if (how === 'stream') await new Promise(setImmediate);
  if (how === 'large') for (let at = 0; at < 8; at += 1) exchange.write(Buffer.alloc(100_000));
  exchange.write(how === 'short' ? 'ab' : 'abcd');
  if (how === 'cut') exchange.cut();
  exchange.end();
}

describe('whatever clients and answers do', () => {
  let front: TestFront;
  let script: readonly Reply[] = [];
  let begun = 0;
  let over = 0;
  beforeAll(async () => {
    front = await startFront({
      limits: { requestReadMs: 60, headReadMs: 60, keepAliveMs: 80, lingerMs: 40, clientStallMs: 80 },
      handle: (exchange) => {
        const how = script[begun % script.length] ?? 'whole';
        begun += 1;
        exchange.onClose(() => (over += 1));
        if (how === 'throw') throw new Error('a step failed');
        reply(exchange, how).catch(() => {
          exchange.cut();
        });
      },
    });
  });
  afterAll(() => front.close());

  test('each request ends once, and nothing is left of any connection', async () => {
    const move = fc.oneof(fc.constantFrom<Move>('post', 'get'), fc.constantFrom(...moves));
    const one = fc.array(move, { minLength: 1, maxLength: 6 });
    const all = fc.record({
      clients: fc.array(one, { minLength: 1, maxLength: 8 }),
      answers: fc.array(fc.constantFrom(...replies), { minLength: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(all, async ({ clients, answers }) => {
        script = answers;
        await Promise.all(clients.map(play));
        await until(async () => (await front.metric('muster_gateway_front_connections')) === 0);
        await until(() => over === begun);
        expect(await front.metric('muster_gateway_front_body_bytes')).toBe(0);
      }),
      { numRuns: 40 },
    );
    expect(begun).toBeGreaterThan(30); // or little was tried
    expect(over).toBe(begun);
  }, 120_000);

  async function play(script: readonly Move[]): Promise<void> {
    const client = await dial(front.port);
    const { socket } = client;
    for (const move of script) {
      if (socket.destroyed) break;
      const text = bytes[move];
      if (text !== undefined && socket.writable) socket.write(text);
      else if (move === 'wait') await new Promise((resolve) => setTimeout(resolve, 3));
      else if (move === 'pause') socket.pause();
      else if (move === 'resume') socket.resume();
      else if (move === 'end') socket.end();
      else if (move === 'reset' && socket.writable) socket.resetAndDestroy();
      else if (move === 'destroy') socket.destroy();
    }
    socket.resume();
    await client.closed();
  }
});
