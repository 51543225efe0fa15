import { describe, expect, test } from '@jest/globals';
import { answer } from '../../../../gateway/front/exchange.ts';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { facts, readerOf } from '../../../fixtures/front/front.ts';
import { Talks, get, last, post } from '../../../fixtures/front/talks.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';

const talks = new Talks();

describe('a connection that is read here', () => {
  test('takes a request that comes in two pieces, cut at any byte', async () => {
    await talks.start();
    const text = `${post('{"model":"tiny"}', 'x-a: b')}${last}`;
    const expected = [
      {
        method: 'POST',
        path: '/v1/completions',
        query: '?a=1',
        headers: { host: 'x', 'x-a': 'b' },
        body: '{"model":"tiny"}',
      },
      { method: 'GET', path: '/last', query: '', headers: { host: 'x', connection: 'close' }, body: null },
    ];
    const asked = Array.from({ length: text.length + 1 }, async (_, at) => {
      const talking = await talks.client();
      await talking.write(text.slice(0, at), text.slice(at));
      await talking.closed();
      return talking.answers().map(({ body }) => JSON.parse(body) as unknown);
    });
    for (const told of await Promise.all(asked)) expect(told).toEqual(expected);
    expect(new Set(talks.front.seen.map(readerOf))).toEqual(new Set(['own']));
  }, 60_000);

  test('takes a request byte by byte', async () => {
    await talks.start();
    const talking = await talks.client();
    await talking.write(...Array.from(post('{"model":"tiny"}', 'connection: close')));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200 }]);
    expect(talks.front.seen.map(facts)).toMatchObject([{ body: '{"model":"tiny"}' }]);
  });

  test('takes a body of many pieces, whose first bytes came with the head', async () => {
    await talks.start();
    const talking = await talks.client();
    const body = Buffer.alloc(700_000, 'abcdefg').toString('latin1');
    const text = post(body, 'connection: close');
    await talking.write(
      text.slice(0, 200),
      text.slice(200, 70_000),
      text.slice(70_000, 300_001),
      text.slice(300_001),
    );
    await talking.closed();
    expect(talks.front.seen.map(({ body: read }) => read?.toString('latin1') === body)).toEqual([true]);
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) === 0);
  });

  test.each([0, 1, 5, 30])(
    'answers pipelined requests in order, cut %p bytes before their end',
    async (before) => {
      const waiting: Exchange[] = [];
      await talks.start({ handle: (exchange) => waiting.push(exchange) });
      const talking = await talks.client();
      const text = `${get('/1')}${post('one')}${get('/2')}${post('two')}${last}`;
      await talking.write(text.slice(0, text.length - before), text.slice(text.length - before));
      const answered: string[] = [];
      for (let at = 0; at < 5; at += 1) {
        await until(() => waiting.length === at + 1); // never two at once
        const exchange = waiting[at]!;
        const name = exchange.body?.toString() ?? exchange.path;
        answered.push(name);
        answer(exchange, 200, name);
      }
      await talking.closed();
      expect(answered).toEqual(['/1', 'one', '/2', 'two', '/last']);
      expect(talking.answers().map(({ body }) => body)).toEqual(answered);
    },
  );

  test('lets others have their turn when many requests come in one packet and are answered at once', async () => {
    await talks.start();
    const [many, one] = [await talks.client(), await talks.client()];
    const written = many.write(`${get('/many').repeat(900)}${last}`);
    await one.write(last);
    await one.closed();
    const before = many.answers().length;
    await written;
    await many.closed();
    expect(many.answers()).toHaveLength(901);
    expect(before).toBeLessThan(450);
  });

  test('does not read on without end while an answer is awaited', async () => {
    let held: Exchange | null = null;
    await talks.start({
      handle: (exchange) => {
        if (held === null) held = exchange;
        else answer(exchange, 200, '');
      },
    });
    const talking = await talks.client();
    const many = 400_000;
    talking.socket.write(get('/held') + get('/next').repeat(many / 10));
    let sent = 0;
    const more = (): void => {
      if (sent >= 64 * 1024 * 1024 || talking.socket.destroyed) return;
      if (talking.socket.write(get('/next').repeat(1000), () => setImmediate(more))) sent += 30_000;
    };
    more();
    await until(() => held !== null);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await talks.front.metric('muster_gateway_front_body_bytes')).toBeLessThan(256 * 1024);
    expect(talking.socket.writableLength).toBeGreaterThan(0);
    answer(held as unknown as Exchange, 200, '');
    await until(() => talks.front.seen.length > 100); // and goes on
  });

  test.each([
    ['HTTP/1.0', 'GET /1 HTTP/1.0\r\nhost: x\r\n\r\n', 'line'],
    ['another method', 'DELETE /1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 'line'],
    [
      'a chunked body',
      'POST /1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
      'framing',
    ],
    ['a whole URL', 'GET http://x/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 'target'],
    ['an empty line first', '\r\nGET /1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 'line'],
    ['more words in Connection', 'GET /1 HTTP/1.1\r\nhost: x\r\nconnection: close, te\r\n\r\n', 'connection'],
  ])(
    'hands %s to node, also after requests of its own and cut at any byte',
    async (_what, odd, why) => {
      await talks.start();
      const first = get('/0');
      const cuts = Array.from({ length: odd.length }, (_, at) => first.length + at);
      for (const cut of cuts) {
        const talking = await talks.client();
        const text = first + odd;
        await talking.write(text.slice(0, cut), text.slice(cut));
        await talking.closed();
        expect(talking.answers().map(({ status }) => status)).toEqual([200, 200]);
      }
      expect(talks.paths).toEqual(cuts.flatMap(() => ['/0', '/1']));
      expect(readerOf(talks.front.seen[0])).toBe('own');
      expect(readerOf(talks.front.seen[1])).toBe('node');
      expect(await talks.front.metric('muster_gateway_front_handed_over_total', why)).toBeGreaterThan(0);
      expect(await talks.front.metric('muster_gateway_front_connections')).toBe(0);
    },
    60_000,
  );

  test('a connection that node reads is read by node from then on', async () => {
    await talks.start();
    const talking = await talks.client();
    await talking.write('PUT /odd HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}', last);
    await talking.closed();
    expect(talks.front.seen.map(facts)).toMatchObject([{ path: '/odd', body: '{}' }, { path: '/last' }]);
    expect(readerOf(talks.front.seen[1])).toBe('node');
  });

  test('the answer before an odd request is whole before node sees it', async () => {
    const waiting: Exchange[] = [];
    await talks.start({ handle: (exchange) => waiting.push(exchange) });
    const talking = await talks.client();
    await talking.write(`${get('/1')}GET /2 HTTP/1.0\r\n\r\n`);
    await until(() => waiting.length === 1);
    answer(waiting[0]!, 200, 'first');
    await until(() => waiting.length === 2);
    answer(waiting[1]!, 200, 'second');
    await talking.closed();
    expect(talking.text.match(/first|second/g)).toEqual(['first', 'second']);
  });
});
