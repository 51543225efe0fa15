import { afterEach, describe, expect, test } from '@jest/globals';
import { answer } from '../../../../gateway/front/exchange.ts';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';
import { dial, facts, readerOf, startFront } from '../../../fixtures/front/front.ts';
import type { TestFront, TestFrontOptions } from '../../../fixtures/front/front.ts';

const closers: (() => unknown)[] = [];
let front: TestFront;
async function start(options: TestFrontOptions = {}): Promise<TestFront> {
  front = await startFront(options);
  closers.push(() => front.close());
  return front;
}
async function client() {
  const made = await dial(front.port);
  closers.push(() => made.socket.destroy());
  return made;
}
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const post = (body: string, ...head: string[]) =>
  ['POST /v1/completions?a=1 HTTP/1.1', 'host: x', `content-length: ${body.length}`, ...head, '', body].join(
    '\r\n',
  );
const get = (path: string, ...head: string[]) =>
  [`GET ${path} HTTP/1.1`, 'host: x', ...head, '', ''].join('\r\n');
const last = get('/last', 'connection: close');
const paths = (): string[] => front.seen.map(({ path }) => path);

describe('a connection that is read here', () => {
  test('takes a request that comes in two pieces, cut at any byte', async () => {
    await start();
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
    const talks = Array.from({ length: text.length + 1 }, async (_, at) => {
      const talking = await client();
      await talking.write(text.slice(0, at), text.slice(at));
      await talking.closed();
      return talking.answers().map(({ body }) => JSON.parse(body) as unknown);
    });
    for (const told of await Promise.all(talks)) expect(told).toEqual(expected);
    expect(new Set(front.seen.map(readerOf))).toEqual(new Set(['own']));
  }, 60_000);

  test('takes a request byte by byte', async () => {
    await start();
    const talking = await client();
    await talking.write(...Array.from(post('{"model":"tiny"}', 'connection: close')));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200 }]);
    expect(front.seen.map(facts)).toMatchObject([{ body: '{"model":"tiny"}' }]);
  });

  test('takes a body of many pieces, whose first bytes came with the head', async () => {
    await start();
    const talking = await client();
    const body = Buffer.alloc(700_000, 'abcdefg').toString('latin1');
    const text = post(body, 'connection: close');
    await talking.write(
      text.slice(0, 200),
      text.slice(200, 70_000),
      text.slice(70_000, 300_001),
      text.slice(300_001),
    );
    await talking.closed();
    expect(front.seen.map(({ body: read }) => read?.toString('latin1') === body)).toEqual([true]);
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) === 0);
  });

  test.each([0, 1, 5, 30])(
    'answers pipelined requests in order, cut %p bytes before their end',
    async (before) => {
      const waiting: Exchange[] = [];
      await start({ handle: (exchange) => waiting.push(exchange) });
      const talking = await client();
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

  test('does not read on without end while an answer is awaited', async () => {
    let held: Exchange | null = null;
    await start({
      handle: (exchange) => {
        if (held === null) held = exchange;
        else answer(exchange, 200, '');
      },
    });
    const talking = await client();
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
    expect(await front.metric('muster_gateway_front_body_bytes')).toBeLessThan(256 * 1024);
    expect(talking.socket.writableLength).toBeGreaterThan(0);
    answer(held as unknown as Exchange, 200, '');
    await until(() => front.seen.length > 100); // and goes on
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
      await start();
      const first = get('/0');
      const cuts = Array.from({ length: odd.length }, (_, at) => first.length + at);
      for (const cut of cuts) {
        const talking = await client();
        const text = first + odd;
        await talking.write(text.slice(0, cut), text.slice(cut));
        await talking.closed();
        expect(talking.answers().map(({ status }) => status)).toEqual([200, 200]);
      }
      expect(paths()).toEqual(cuts.flatMap(() => ['/0', '/1']));
      expect(readerOf(front.seen[0])).toBe('own');
      expect(readerOf(front.seen[1])).toBe('node');
      expect(await front.metric('muster_gateway_front_handed_over_total', why)).toBeGreaterThan(0);
      expect(await front.metric('muster_gateway_front_connections')).toBe(0);
    },
    60_000,
  );

  test('a connection that node reads is read by node from then on', async () => {
    await start();
    const talking = await client();
    await talking.write('PUT /odd HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}', last);
    await talking.closed();
    expect(front.seen.map(facts)).toMatchObject([{ path: '/odd', body: '{}' }, { path: '/last' }]);
    expect(readerOf(front.seen[1])).toBe('node');
  });

  test('the answer before an odd request is whole before node sees it', async () => {
    const waiting: Exchange[] = [];
    await start({ handle: (exchange) => waiting.push(exchange) });
    const talking = await client();
    await talking.write(`${get('/1')}GET /2 HTTP/1.0\r\n\r\n`);
    await until(() => waiting.length === 1);
    answer(waiting[0]!, 200, 'first');
    await until(() => waiting.length === 2);
    answer(waiting[1]!, 200, 'second');
    await talking.closed();
    expect(talking.text.match(/first|second/g)).toEqual(['first', 'second']);
  });
});

describe('the ends of a connection', () => {
  test('with connection: close it is closed after the answer, and what follows is no request', async () => {
    await start();
    const talking = await client();
    await talking.write(`${last}${get('/smuggled')}`);
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' } }]);
    expect(paths()).toEqual(['/last']);
    expect(talking.error).toBe('');
  });

  test('without requests it is closed after the keep-alive time, and a request begins it anew', async () => {
    await start({ limits: { keepAliveMs: 300 } });
    const talking = await client();
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
      await start({ limits: { headReadMs: 100 } });
      const talking = await client();
      await talking.write(text);
      await talking.closed();
      expect(talking.text.startsWith('HTTP/1.1 408 ')).toBe(text !== '');
      expect(front.seen).toHaveLength(0);
    },
  );

  test('a head that trickles ends in time, too: each byte gives it none', async () => {
    await start({ limits: { headReadMs: 150 } });
    const talking = await client();
    const trickle = setInterval(() => {
      talking.socket.write('x');
    }, 20);
    closers.push(() => {
      clearInterval(trickle);
    });
    talking.socket.write('GET / HTTP/1.1\r\nx: ');
    await talking.closed();
    expect(talking.text).toMatch(/^HTTP\/1.1 408 /);
    expect(await front.metric('muster_gateway_front_timed_out_total')).toBe(1);
  });

  test('a body that does not come is refused in time, in the words of the data path', async () => {
    await start({ limits: { requestReadMs: 100 } });
    const talking = await client();
    await talking.write(post('0123456789').slice(0, -3));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 408, headers: { connection: 'close' } }]);
    expect(front.refused).toMatchObject([{ code: 'request_timeout' }]);
    expect(await front.metric('muster_gateway_front_body_bytes')).toBe(0);
  });

  test('a head beyond the limit is 431', async () => {
    await start({ limits: { headerBytesMax: 2000 } });
    for (const text of [get('/', `x: ${'y'.repeat(3000)}`), `GET / HTTP/1.1\r\nx: ${'y'.repeat(3000)}`]) {
      const talking = await client();
      await talking.write(text);
      await talking.closed();
      expect(talking.text).toMatch(/^HTTP\/1.1 431 /);
    }
    expect(front.seen).toHaveLength(0);
  });

  test('a body beyond the limit is 413 at once, and the client can read it while it still sends', async () => {
    await start({ limits: { bodyBytesMax: 1000 } });
    const talking = await client();
    await talking.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n');
    talking.socket.write(Buffer.alloc(3_000_000));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 413, headers: { connection: 'close' } }]);
    expect(front.seen).toHaveLength(0);
  });

  test('bodies of all connections together have a bound: beyond it 503', async () => {
    await start({ limits: { bodiesBytesMax: 200_000 } });
    const held = await client();
    await held.write(post('x'.repeat(150_000)).slice(0, -1));
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) > 100_000);
    const refused = await client();
    await refused.write(post('x'.repeat(150_000)));
    await until(() => refused.answers().length === 1);
    expect(refused.answers()).toMatchObject([{ status: 503 }]);
    expect(front.refused).toMatchObject([{ code: 'gateway_busy' }]);
    held.socket.destroy();
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) === 0);
    const served = await client();
    await served.write(post('x'.repeat(150_000)));
    await until(() => served.answers().length === 1);
    expect(served.answers()).toMatchObject([{ status: 200 }]);
    expect(await front.metric('muster_gateway_front_bodies_refused_total')).toBe(1);
  });

  test.each([
    [413, { bodyBytesMax: 50_000 }],
    [503, { bodiesBytesMax: 50_000 }],
  ])("node's reader keeps to the same bounds, and gives back what it held: %p", async (status, limits) => {
    await start({ limits });
    const chunk = `2710\r\n${'x'.repeat(10_000)}\r\n`;
    const refused = await client();
    await refused.write(
      `POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${chunk.repeat(9)}0\r\n\r\n`,
    );
    await refused.closed();
    expect(refused.answers()).toMatchObject([{ status }]);
    expect(front.seen).toHaveLength(0);
    const left = await client();
    await left.write(`PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 40000\r\n\r\n${'x'.repeat(30_000)}`);
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) === 30_000);
    left.socket.destroy();
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) === 0);
    const served = await client();
    await served.write(
      `PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 40000\r\n\r\n${'x'.repeat(40_000)}`,
    );
    await served.closed();
    expect(front.seen.map(({ body }) => body?.length)).toEqual([40_000]);
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) === 0);
  });

  test('a client that announces much and sends little holds little', async () => {
    await start();
    const talking = await client();
    await talking.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 90000000\r\n\r\nx');
    await until(async () => (await front.metric('muster_gateway_front_body_bytes')) > 0);
    expect(await front.metric('muster_gateway_front_body_bytes')).toBeLessThan(100_000);
  });

  test.each(['end', 'destroy', 'resetAndDestroy'] as const)(
    'a client that leaves (%s) before the answer is noticed',
    async (how) => {
      const waiting: Exchange[] = [];
      await start({ handle: (exchange) => waiting.push(exchange) });
      const talking = await client();
      await talking.write(post('x'));
      await until(() => waiting.length === 1);
      const told: boolean[] = [];
      waiting[0]!.onClose((isWhole) => told.push(isWhole));
      talking.socket[how]();
      await until(() => told.length === 1);
      expect(told).toEqual([false]);
      answer(waiting[0]!, 200, 'too late'); // harmless
      expect(await front.metric('muster_gateway_front_body_bytes')).toBe(0);
      expect(await front.metric('muster_gateway_front_connections')).toBe(0);
    },
  );

  test('a client that closes its side with its request still gets an answer that is there at once', async () => {
    await start();
    const talking = await client();
    talking.socket.end(get('/1'));
    await talking.closed();
    expect(talking.answers()).toMatchObject([{ status: 200 }]);
  });

  test('connections beyond the bound are closed at once and counted', async () => {
    await start({ limits: { connectionsMax: 1 } });
    const first = await client();
    await first.write(get('/1'));
    await until(() => first.answers().length === 1);
    const second = await client();
    await second.closed();
    expect(await front.metric('muster_gateway_front_dropped_total')).toBe(1);
  });

  test('bytes are sent at once: no Nagle', async () => {
    await start();
    const accepted = new Promise((resolve) => front.server.once('connection', resolve));
    await client();
    const socket = (await accepted) as Record<symbol, unknown>;
    const noDelay = Object.getOwnPropertySymbols(socket).find((s) => s.description === 'kSetNoDelay');
    expect(socket[noDelay!]).toBe(true);
  });
});

describe('draining', () => {
  test('requests on open connections are served, and each answer ends its connection', async () => {
    const waiting: Exchange[] = [];
    await start({ handle: (exchange) => waiting.push(exchange), limits: { drainGraceMs: 100 } });
    const [busy, late] = [await client(), await client()];
    await busy.write(get('/busy'));
    await until(() => waiting.length === 1);
    front.drain();
    await late.write(get('/late'));
    await until(() => waiting.length === 2);
    for (const exchange of waiting) answer(exchange, 200, 'ok');
    await Promise.all([busy.closed(), late.closed()]);
    for (const each of [busy, late])
      expect(each.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' } }]);
  });

  test('idle connections are closed after a moment, and the server has closed then', async () => {
    await start({ limits: { drainGraceMs: 100 } });
    const idle = await client();
    await idle.write(get('/1'));
    await until(() => idle.answers().length === 1);
    const closed = new Promise((resolve) => front.server.close(resolve));
    await idle.closed();
    await closed;
    expect(idle.error).toBe('');
  });

  test('a request that comes while idle connections are being closed is served', async () => {
    await start({ limits: { drainGraceMs: 400 } });
    const talking = await client();
    await talking.write(get('/1'));
    await until(() => talking.answers().length === 1);
    front.drain();
    front.server.closeIdleConnections();
    await talking.write(get('/2'));
    await talking.closed();
    expect(talking.answers()).toHaveLength(2);
  });
});
