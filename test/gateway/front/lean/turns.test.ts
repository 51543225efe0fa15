import { describe, expect, test } from '@jest/globals';
import { answer } from '../../../../gateway/front/exchange.ts';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { Talks, get } from '../../../fixtures/front/talks.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';

const talks = new Talks();

describe('what happens within a turn of the event loop', () => {
  test('an answer that was given before its connection is closed from here still comes', async () => {
    await talks.start({
      handle: (exchange) => {
        answer(exchange, 200, exchange.path);
        talks.front.server.closeAllConnections();
      },
    });
    const talking = await talks.client();
    await talking.write(`${get('/1')}${get('/2')}`);
    await talking.closed();
    expect(talking.answers().map(({ body }) => body)).toEqual(['/1']);
    expect(talks.paths).toEqual(['/1']); // nothing is begun on a connection that is closed
  });

  test('a client that leaves is seen to, though it sent as much ahead as two full reads of a stream', async () => {
    const ends: boolean[] = [];
    let held: Exchange | null = null;
    await talks.start({
      handle: (exchange) => {
        held = exchange;
        exchange.onClose((isWhole) => ends.push(isWhole));
      },
    });
    const talking = await talks.client();
    await talking.write(get('/slow'));
    await until(() => held !== null);
    await talking.write(get('/ahead', `x: ${'y'.repeat(150)}`).repeat(180)); // some 32 KiB
    await new Promise((resolve) => setTimeout(resolve, 20));
    talking.socket.resetAndDestroy();
    await until(() => ends.length > 0);
    expect(ends).toEqual([false]);
  });

  test('requests sent ahead are not copied once for each that is answered', async () => {
    const memories = new Set<ArrayBufferLike>();
    await talks.start({
      handle: (exchange) => {
        if (exchange.body !== null) memories.add(exchange.body.buffer);
        answer(exchange, 200, 'x');
      },
    });
    const talking = await talks.client();
    const count = 300;
    const body = 'z'.repeat(100);
    const one = `POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
    await talking.write(one.repeat(count));
    await until(() => talking.answers().length === count);
    expect(memories.size).toBeLessThan(20); // of 45 KB: in some reads, each copied as a whole
  });

  test.each([200, 5_000, 12_000])(
    'requests sent ahead are begun one a turn, so that others are served between (answers of %i bytes)',
    async (size) => {
      let turns = 0;
      let isOver = false;
      const countTurns = () => {
        turns += 1;
        if (!isOver) setImmediate(countTurns);
      };
      const begun = new Map<number, number>();
      await talks.start({
        handle: (exchange) => {
          begun.set(turns, (begun.get(turns) ?? 0) + 1);
          answer(exchange, 200, 'x'.repeat(size));
        },
      });
      const talking = await talks.client();
      for (let time = 0; time < 8; time += 1) {
        await talking.write(get('/alone'));
        await until(() => talking.answers().length === time + 1);
      }
      begun.clear();
      countTurns();
      await talking.write(get('/ahead').repeat(100));
      await until(() => talking.answers().length === 108);
      isOver = true;
      expect(Math.max(...begun.values())).toBeLessThanOrEqual(2); // the reading of more is one, too
    },
  );
});
