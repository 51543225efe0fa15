import { describe, expect, test } from '@jest/globals';
import { answer } from '../../../../gateway/front/exchange.ts';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { Talks, get, last, post } from '../../../fixtures/front/talks.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';

const talks = new Talks();

describe('the ends of a connection', () => {
  test('with connection: close it is closed after the answer, and what follows is no request', async () => {
    await talks.start();
    const talking = await talks.client();
    await talking.write(`${last}${get('/smuggled')}`);
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' } }]);
    expect(talks.paths).toEqual(['/last']);
    expect(talking.error).toBe('');
  });

  test('without requests it is closed after the keep-alive time, and a request begins it anew', async () => {
    await talks.start({ limits: { keepAliveMs: 300 } });
    const talking = await talks.client();
    await talking.write(get('/1'));
    await until(() => talking.answers().length === 1);
    expect(talking.answers()[0]?.headers).toMatchObject({ connection: 'keep-alive' });
    await talking.write(get('/2'));
    await talking.closed();
    expect(talking.answers()).toHaveLength(2);
    expect(talking.error).toBe('');
  });

  test.each(['', 'P', 'POST / HTTP/1.1\r\nhost: x\r\n'])(
    'a head that stops after %j ends in time',
    async (text) => {
      await talks.start({ limits: { headReadMs: 100 } });
      const talking = await talks.client();
      await talking.write(text);
      await talking.closed();
      expect(talking.text.startsWith('HTTP/1.1 408 ')).toBe(text !== '');
      expect(talks.front.seen).toHaveLength(0);
    },
  );

  test('a head that trickles ends in time, too: each byte gives it none', async () => {
    await talks.start({ limits: { headReadMs: 150 } });
    const talking = await talks.client();
    const trickle = setInterval(() => {
      talking.socket.write('x');
    }, 20);
    talks.onEnd(() => {
      clearInterval(trickle);
    });
    talking.socket.write('GET / HTTP/1.1\r\nx: ');
    await talking.closed();
    expect(talking.text).toMatch(/^HTTP\/1.1 408 /);
    expect(await talks.front.metric('muster_gateway_front_timed_out_total')).toBe(1);
  });

  test('a body that does not come is refused in time, in the words of the data path', async () => {
    await talks.start({ limits: { requestReadMs: 100 } });
    const talking = await talks.client();
    await talking.write(post('0123456789').slice(0, -3));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 408, headers: { connection: 'close' } }]);
    expect(talks.front.refused).toMatchObject([{ code: 'request_timeout' }]);
    expect(await talks.front.metric('muster_gateway_front_body_bytes')).toBe(0);
  });

  test('a head beyond the limit is 431', async () => {
    await talks.start({ limits: { headerBytesMax: 2000 } });
    for (const text of [get('/', `x: ${'y'.repeat(3000)}`), `GET / HTTP/1.1\r\nx: ${'y'.repeat(3000)}`]) {
      const talking = await talks.client();
      await talking.write(text);
      await talking.closed();
      expect(talking.text).toMatch(/^HTTP\/1.1 431 /);
    }
    expect(talks.front.seen).toHaveLength(0);
  });

  test('a body beyond the limit is 413 at once, and the client can read it while it still sends', async () => {
    await talks.start({ limits: { bodyBytesMax: 1000 } });
    const talking = await talks.client();
    await talking.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n');
    talking.socket.write(Buffer.alloc(3_000_000));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 413, headers: { connection: 'close' } }]);
    expect(talks.front.seen).toHaveLength(0);
  });

  test('bodies of all connections together have a bound: beyond it 503', async () => {
    await talks.start({ limits: { bodiesBytesMax: 200_000 } });
    const held = await talks.client();
    await held.write(post('x'.repeat(150_000)).slice(0, -1));
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) > 100_000);
    const refused = await talks.client();
    await refused.write(post('x'.repeat(150_000)));
    await until(() => refused.answers().length === 1);
    expect(refused.answers()).toMatchObject([{ status: 503 }]);
    expect(talks.front.refused).toMatchObject([{ code: 'gateway_busy' }]);
    held.socket.destroy();
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) === 0);
    const served = await talks.client();
    await served.write(post('x'.repeat(150_000)));
    await until(() => served.answers().length === 1);
    expect(served.answers()).toMatchObject([{ status: 200 }]);
    expect(await talks.front.metric('muster_gateway_front_bodies_refused_total')).toBe(1);
  });

  test.each([
    [413, { bodyBytesMax: 50_000 }],
    [503, { bodiesBytesMax: 50_000 }],
  ])("node's reader keeps to the same bounds, and gives back what it held: %p", async (status, limits) => {
    await talks.start({ limits });
    const chunk = `2710\r\n${'x'.repeat(10_000)}\r\n`;
    const refused = await talks.client();
    await refused.write(
      `POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${chunk.repeat(9)}0\r\n\r\n`,
    );
    await refused.closed();
    expect(refused.answers()).toMatchObject([{ status }]);
    expect(talks.front.seen).toHaveLength(0);
    const left = await talks.client();
    await left.write(`PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 40000\r\n\r\n${'x'.repeat(30_000)}`);
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) === 30_000);
    left.socket.destroy();
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) === 0);
    const served = await talks.client();
    await served.write(
      `PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 40000\r\n\r\n${'x'.repeat(40_000)}`,
    );
    await served.closed();
    expect(talks.front.seen.map(({ body }) => body?.length)).toEqual([40_000]);
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) === 0);
  });

  test('a client that announces much and sends little holds little', async () => {
    await talks.start();
    const talking = await talks.client();
    await talking.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90000000\r\n\r\nx');
    await until(async () => (await talks.front.metric('muster_gateway_front_body_bytes')) > 0);
    expect(await talks.front.metric('muster_gateway_front_body_bytes')).toBeLessThan(100_000);
  });

  test.each(['end', 'destroy', 'resetAndDestroy'] as const)(
    'a client that leaves (%s) before the answer is noticed',
    async (how) => {
      const waiting: Exchange[] = [];
      await talks.start({ handle: (exchange) => waiting.push(exchange) });
      const talking = await talks.client();
      await talking.write(post('x'));
      await until(() => waiting.length === 1);
      const told: boolean[] = [];
      waiting[0]!.onClose((isWhole) => told.push(isWhole));
      talking.socket[how]();
      await until(() => told.length === 1);
      expect(told).toEqual([false]);
      answer(waiting[0]!, 200, 'too late'); // harmless
      expect(await talks.front.metric('muster_gateway_front_body_bytes')).toBe(0);
      expect(await talks.front.metric('muster_gateway_front_connections')).toBe(0);
    },
  );

  test('a client that closes its side with its request still gets an answer that is there at once', async () => {
    await talks.start();
    const talking = await talks.client();
    talking.socket.end(get('/1'));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200 }]);
  });

  const half = 'POST /half HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc';
  test.each([
    ['nothing', ''],
    ['a head that is not whole', 'GET /half HT'],
    ['a body that is not whole', half],
  ])('requests of one write that closes the side are all answered, with %s behind them', async (_, rest) => {
    await talks.start();
    const counts = [1, 2, 3, 4].flatMap((count) => [true, false].map((isGet) => ({ count, isGet })));
    for (const { count, isGet } of counts) {
      const talking = await talks.client();
      talking.socket.end((isGet ? get('/1') : post('abc')).repeat(count) + rest);
      await talking.closed();
      expect(talking.answers().map(({ status }) => status)).toEqual(Array(count).fill(200));
      expect(talking.error).toBe('');
    }
    expect(talks.paths).not.toContain('/half');
    expect(await talks.front.metric('muster_gateway_front_body_bytes')).toBe(0);
    // The client may see the end a moment before the front does.
    await until(async () => (await talks.front.metric('muster_gateway_front_connections')) === 0);
  });

  test('such requests are all answered wherever the write is cut, and odd ones among them, too', async () => {
    await talks.start();
    const odd = 'PUT /odd HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}';
    for (const text of [`${get('/1')}${post('abc')}${get('/3')}`, `${get('/1')}${get('/2')}${odd}`]) {
      const asked = Array.from({ length: text.length }, async (_, at) => {
        const talking = await talks.client();
        await talking.write(text.slice(0, at));
        await new Promise((resolve) => setTimeout(resolve, at % 3));
        talking.socket.end(text.slice(at));
        await talking.closed();
        return talking.answers().length;
      });
      expect(new Set(await Promise.all(asked))).toEqual(new Set([3]));
    }
  }, 60_000);

  test('connections beyond the bound are closed at once and counted', async () => {
    await talks.start({ limits: { connectionsMax: 1 } });
    const first = await talks.client();
    await first.write(get('/1'));
    await until(() => first.answers().length === 1);
    const second = await talks.client();
    await second.closed();
    expect(await talks.front.metric('muster_gateway_front_dropped_total')).toBe(1);
  });

  test('bytes are sent at once: no Nagle', async () => {
    await talks.start();
    const accepted = new Promise((resolve) => talks.front.server.once('connection', resolve));
    await talks.client();
    const socket = (await accepted) as Record<symbol, unknown>;
    const noDelay = Object.getOwnPropertySymbols(socket).find((s) => s.description === 'kSetNoDelay');
    expect(socket[noDelay!]).toBe(true);
  });
});

describe('draining', () => {
  test('requests on open connections are served, and each answer ends its connection', async () => {
    const waiting: Exchange[] = [];
    await talks.start({ handle: (exchange) => waiting.push(exchange), limits: { drainGraceMs: 100 } });
    const [busy, late] = [await talks.client(), await talks.client()];
    await busy.write(get('/busy'));
    await until(() => waiting.length === 1);
    talks.front.drain();
    await late.write(get('/late'));
    await until(() => waiting.length === 2);
    for (const exchange of waiting) answer(exchange, 200, 'ok');
    await Promise.all([busy.closed(), late.closed()]);
    for (const each of [busy, late])
      expect(each.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' } }]);
  });

  test('idle connections are closed after a moment, and the server has closed then', async () => {
    await talks.start({ limits: { drainGraceMs: 100 } });
    const idle = await talks.client();
    await idle.write(get('/1'));
    await until(() => idle.answers().length === 1);
    const closed = new Promise((resolve) => talks.front.server.close(resolve));
    await idle.closed();
    await closed;
    expect(idle.error).toBe('');
  });

  test('a request that comes while idle connections are being closed is served', async () => {
    await talks.start({ limits: { drainGraceMs: 400 } });
    const talking = await talks.client();
    await talking.write(get('/1'));
    await until(() => talking.answers().length === 1);
    talks.front.drain();
    talks.front.server.closeIdleConnections();
    await talking.write(get('/2'));
    await talking.closed();
    expect(talking.answers()).toHaveLength(2);
  });
});
