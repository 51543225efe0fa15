import { describe, expect, test } from '@jest/globals';
import type { Exchange } from '../../../gateway/front/exchange.ts';
import { askInternally } from '../../../gateway/front/internal-exchange.ts';
import { WrappedExchange } from '../../../gateway/front/wrapped-exchange.ts';

const request = { method: 'POST', path: '/v1/embeddings', headers: { a: 'b' }, body: Buffer.from('x') };
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('a request of the gateway to itself', () => {
  test('gets status, headers and body as they were given', async () => {
    const answer = await askInternally(
      (exchange) => {
        expect([exchange.method, exchange.path, exchange.query, exchange.headers['a']]).toEqual([
          'POST',
          '/v1/embeddings',
          '',
          'b',
        ]);
        exchange.start(201, ['Content-Type', 'text/plain', 'via', '1', 'via', '2', 'constructor', 'c']);
        exchange.write('grün ');
        exchange.write(Buffer.from('blau'));
        exchange.end();
      },
      request,
      100,
    );
    expect([answer.status, answer.body.toString()]).toEqual([201, 'grün blau']);
    expect({ ...answer.headers }).toEqual({ 'content-type': 'text/plain', via: '1, 2', constructor: 'c' });
  });

  const failing: [string, (exchange: Exchange) => void, string][] = [
    [
      'cut',
      (exchange) => {
        exchange.start(200, []);
        exchange.cut();
      },
      'cut',
    ],
    [
      'ended without a head',
      (exchange) => {
        exchange.end();
      },
      'cut',
    ],
    [
      'too large',
      (exchange) => {
        exchange.start(200, []);
        exchange.write('x'.repeat(11));
        exchange.end();
      },
      'larger than 10',
    ],
  ];
  test.each(failing)(
    'fails when its answer is %s, and says to those who listen that it was not whole',
    async (_what, give, why) => {
      let isWhole: boolean | null = null;
      const asked = askInternally(
        (exchange) => {
          exchange.onClose((whole) => (isWhole = whole));
          give(exchange);
        },
        request,
        10,
      );
      await expect(asked).rejects.toThrow(why);
      await turn();
      expect(isWhole).toBe(false);
    },
  );

  test('is given up when its signal fires, before, while and after it is asked', async () => {
    const closed: boolean[] = [];
    const ask = (signal: AbortSignal, end: boolean) =>
      askInternally(
        (exchange) => {
          exchange.onClose((isWhole) => closed.push(isWhole));
          if (!end) return;
          exchange.start(200, []);
          exchange.end();
        },
        request,
        10,
        signal,
      );
    await expect(ask(AbortSignal.abort(), true)).rejects.toThrow('aborted');
    expect(closed).toEqual([]);
    const control = new AbortController();
    const asked = ask(control.signal, false);
    control.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
    await turn();
    expect(closed).toEqual([false]);
    const done = new AbortController();
    await ask(done.signal, true);
    done.abort();
    await turn();
    expect(closed).toEqual([false, true]);
  });

  test('takes no more once it is over', async () => {
    let kept: Exchange | null = null;
    const answer = await askInternally(
      (exchange) => {
        kept = exchange;
        exchange.start(200, []);
        exchange.write('a');
        exchange.end();
      },
      request,
      10,
    );
    const exchange = kept as unknown as Exchange;
    expect(exchange.write('b'.repeat(100))).toBe(true);
    exchange.end();
    exchange.cut();
    expect(answer.body.toString()).toBe('a');
  });

  test('passes through an exchange that is wrapped', async () => {
    const answer = await askInternally(
      (inner) => {
        const wrapped = new WrappedExchange(inner);
        expect([
          wrapped.method,
          wrapped.path,
          wrapped.query,
          wrapped.body,
          wrapped.peer,
          wrapped.memo,
        ]).toEqual([inner.method, inner.path, inner.query, inner.body, inner.peer, inner.memo]);
        expect(wrapped.isStarted).toBe(false);
        wrapped.start(200, []);
        wrapped.write('abc');
        expect([wrapped.isStarted, wrapped.status, wrapped.bytes]).toEqual([true, 200, 3]);
        wrapped.end();
      },
      request,
      10,
    );
    expect(answer.body.toString()).toBe('abc');
  });
});
