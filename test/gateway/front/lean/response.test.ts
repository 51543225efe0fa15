import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { answer } from '../../../../gateway/front/exchange.ts';
import type { Exchange } from '../../../../gateway/front/exchange.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';
import { dial, startFront } from '../../../fixtures/front/front.ts';
import type { RawClient, TestFront, TestFrontOptions } from '../../../fixtures/front/front.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const request = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n';

/** A client whose request waits to be answered by the test. */
async function asked(
  text = request,
  options: TestFrontOptions = {},
): Promise<{ front: TestFront; client: RawClient; exchange: Exchange; socket: Socket }> {
  const waiting: Exchange[] = [];
  const front = await startFront({ ...options, handle: (exchange) => waiting.push(exchange) });
  closers.push(() => front.close());
  const accepted = new Promise<Socket>((resolve) => front.server.once('connection', resolve));
  const client = await dial(front.port);
  closers.push(() => client.socket.destroy());
  await client.write(text);
  await until(() => waiting.length === 1);
  return { front, client, exchange: waiting[0]!, socket: await accepted };
}

describe('a response', () => {
  test('that is given at once is one write', async () => {
    const { client, exchange, socket } = await asked();
    const writes: number[] = [];
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = (...args: unknown[]) => {
      writes.push((args[0] as Uint8Array).length);
      return write(...args);
    };
    answer(exchange, 200, '{"a":1}', ['x-b', 'c']);
    await until(() => client.answers().length === 1);
    expect(client.answers()).toMatchObject([{ status: 200, body: '{"a":1}', headers: { 'x-b': 'c' } }]);
    expect(writes).toEqual([client.text.length]);
  });

  test('whose end is announced with its last bytes ends in their write, and can be followed by none', async () => {
    const { client, exchange, socket, front } = await asked();
    exchange.start(200, ['content-type', 'text/event-stream']);
    exchange.write('data: 1\n\n');
    await until(() => client.text.endsWith('data: 1\n\n\r\n'));
    const writes: string[] = [];
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = (...args: unknown[]) => {
      writes.push(Buffer.from(args[0] as Uint8Array).toString());
      return write(...args);
    };
    exchange.write('data: 2\n\n', true);
    exchange.end();
    await until(() => client.answers().length === 1);
    expect(writes).toEqual(['9\r\ndata: 2\n\n\r\n0\r\n\r\n']);
    await client.write(request);
    await until(() => front.seen.length === 2);
    const next = front.seen[1]!;
    next.start(200, ['content-type', 'text/event-stream']);
    next.write('whole', true);
    next.write('too much');
    await client.closed();
    expect(client.text).not.toContain('too much');
  });

  test('that becomes a stream sends its head at once, then each chunk', async () => {
    const { client, exchange } = await asked();
    exchange.start(200, ['content-type', 'text/event-stream']);
    await until(() => client.text.endsWith('\r\n\r\n'));
    expect(client.text).toMatch(/^HTTP\/1.1 200 OK\r\ncontent-type: text\/event-stream\r\n/);
    exchange.write('data: 1\n\n');
    await until(() => client.text.endsWith('9\r\ndata: 1\n\n\r\n'));
    exchange.write(Buffer.from('data: 2\n\n'));
    exchange.end();
    await until(() => client.answers().length === 1);
    expect(client.answers()).toMatchObject([
      { body: 'data: 1\n\ndata: 2\n\n', headers: { 'transfer-encoding': 'chunked' } },
    ]);
  });

  test('says its date once, and the connection its own words', async () => {
    const { client, exchange } = await asked();
    exchange.start(200, [
      'Date',
      'today',
      'Content-Length',
      '2',
      'Transfer-Encoding',
      'x',
      'Keep-Alive',
      'y',
      'Set-Cookie',
      'a',
      'Set-Cookie',
      'b',
    ]);
    exchange.write('ok');
    exchange.end();
    await until(() => client.answers().length === 1);
    expect(client.text).toBe(
      'HTTP/1.1 200 OK\r\nDate: today\r\ncontent-length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n' +
        'connection: keep-alive\r\nkeep-alive: timeout=75\r\n\r\nok',
    );
  });

  test('without a date gets one of now', async () => {
    const { client, exchange } = await asked();
    answer(exchange, 200, '');
    await until(() => client.answers().length === 1);
    const date = Date.parse(client.answers()[0]?.headers['date'] ?? '');
    expect(Math.abs(date - Date.now())).toBeLessThan(10_000);
  });

  test.each([
    ['HEAD', 200, ['content-length', '5'], 'hello'],
    ['HEAD', 200, [], ''],
    ['GET', 204, [], 'x'],
    ['GET', 304, ['content-length', '5'], ''],
    ['GET', 200, [], ''],
    ['GET', 200, ['content-length', '0'], ''],
  ])(
    'to %s with status %p and %j has no body, and another follows',
    async (method, status, headers, body) => {
      const { client, exchange, front } = await asked(`${method} / HTTP/1.1\r\nhost: x\r\n\r\n`);
      exchange.start(status, [...headers]);
      if (body !== '') exchange.write(body);
      exchange.end();
      await until(() => client.text.endsWith('\r\n\r\n'));
      expect(client.text).not.toContain('chunked');
      const before = client.text.length;
      await client.write(request);
      await until(() => front.seen.length === 2);
      answer(front.seen[1]!, 200, 'next');
      await until(() => client.text.endsWith('next'));
      expect(client.text.slice(before)).toMatch(/^HTTP\/1.1 200 OK\r\n/);
      expect(exchange.isStarted).toBe(true);
    },
  );

  test.each([
    ['less than promised', (exchange: Exchange) => exchange.write('abc')],
    ['nothing of what was promised', () => undefined],
    ['more than promised', (exchange: Exchange) => exchange.write('abcdef')],
  ])('with %s is cut, so that nobody takes it for whole', async (_what, give) => {
    const { client, exchange } = await asked();
    const whole: boolean[] = [];
    exchange.onClose((isWhole) => whole.push(isWhole));
    exchange.start(200, ['content-length', '5']);
    give(exchange);
    exchange.end();
    await client.closed();
    expect(client.answers()).toEqual([]);
    expect(client.error).toBe('ECONNRESET');
    await until(() => whole.length === 1);
    expect(whole).toEqual([false]);
  });

  test('that is cut resets the connection', async () => {
    const { client, exchange } = await asked();
    exchange.start(200, []);
    exchange.write('half');
    await until(() => client.text.includes('half'));
    exchange.cut();
    exchange.end();
    await client.closed();
    expect(client.error).toBe('ECONNRESET');
  });

  test.each([
    ['a line feed', ['x', 'a\nb']],
    ['a line end', ['x', 'a\r\nset-cookie: b']],
    ['NUL', ['x', 'a\0']],
    ['a character whose low byte is a line feed', ['x', 'a\u010ab']],
    ['a name with a line end', ['x\r\ny', 'a']],
    ['a name with a colon', ['x: y', 'a']],
    ['an empty name', ['', 'a']],
    ['a length that is none', ['content-length', '1\r\n\r\n']],
    ['a date with a line end', ['date', 'a\r\nb: c']],
  ])('with %s in its headers is an error, and nothing is sent', async (_what, headers) => {
    const { client, exchange } = await asked();
    expect(() => {
      exchange.start(200, headers);
    }).toThrow(TypeError);
    answer(exchange, 500, 'ours');
    await until(() => client.answers().length === 1);
    expect(client.answers()).toMatchObject([{ status: 500, body: 'ours' }]);
  });

  test.each([99, 100, 101, 1000, Number.NaN])('with the status %p is an error', async (status) => {
    const { exchange } = await asked();
    expect(() => {
      exchange.start(status, []);
    }).toThrow(TypeError);
  });

  test('ends for all who wait for its end, though one of them fails', async () => {
    const { client, exchange } = await asked('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    let told = 0;
    exchange.onClose(() => {
      told += 1;
      throw new Error('a step failed');
    });
    exchange.onClose(() => (told += 1));
    answer(exchange, 200, 'ok');
    await client.closed(); // the connection goes its way, too
    expect(client.answers()).toMatchObject([{ body: 'ok' }]);
    expect(told).toBe(2);
  });

  test('cannot be started twice', async () => {
    const { exchange } = await asked();
    exchange.start(200, []);
    expect(() => {
      exchange.start(200, []);
    }).toThrow('twice');
  });

  test.each([true, false])('counts bytes, not characters (own reader: %p)', async (isLean) => {
    const { exchange } = await asked(request, { isLean });
    exchange.start(200, []);
    exchange.write('é 👩‍🔬');
    exchange.write(Buffer.from('é'));
    exchange.end();
    expect(exchange.bytes).toBe(Buffer.byteLength('é 👩‍🔬é'));
  });

  test('is held back by a client that does not read, and whole when it has taken all', async () => {
    const { client, exchange } = await asked();
    const whole: boolean[] = [];
    exchange.onClose((isWhole) => whole.push(isWhole));
    client.socket.pause();
    exchange.start(200, []);
    const block = Buffer.alloc(256 * 1024, 'x');
    let blocks = 0;
    let isDrained = false;
    while (exchange.write(block)) blocks += 1;
    exchange.onDrain(() => (isDrained = true));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(isDrained).toBe(false);
    exchange.write(block);
    exchange.end();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(whole).toEqual([]);
    client.socket.resume();
    await until(() => whole.length === 1);
    expect(whole).toEqual([true]);
    expect(isDrained).toBe(true);
    await until(() => client.answers().length === 1);
    expect(client.answers()[0]?.body.length).toBe((blocks + 2) * block.length);
  });

  test('that nobody reads to its end is cut after a while', async () => {
    const { client, exchange } = await asked(request, { limits: { clientStallMs: 100 } });
    const whole: boolean[] = [];
    exchange.onClose((isWhole) => whole.push(isWhole));
    client.socket.pause();
    exchange.start(200, []);
    while (exchange.write(Buffer.alloc(256 * 1024)));
    exchange.end();
    await until(() => whole.length === 1);
    expect(whole).toEqual([false]);
  });

  test('that is read slowly, for longer than nothing may be taken, is whole', async () => {
    const { client, exchange } = await asked(request, { limits: { clientStallMs: 700 } });
    client.readSlowly(7);
    exchange.start(200, []);
    exchange.write(Buffer.alloc(24 * 1024 * 1024, 'x'));
    exchange.end();
    const isOver = new Promise<boolean>((resolve) => {
      exchange.onClose(resolve);
    });
    expect(await isOver).toBe(true);
    await until(() => client.text.endsWith('\r\n0\r\n\r\n'));
    expect(client.text.length).toBeGreaterThan(24 * 1024 * 1024);
    expect(client.error).toBe('');
  }, 60_000);

  test('has the bytes that were given, in whatever pieces and turns they came', async () => {
    const { client, front } = await asked();
    answer(front.seen[0]!, 200, '');
    await until(() => client.answers().length === 1);
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(16_000, 16_384, 70_000).map((n) => new Uint8Array(n).fill(120)),
    );
    const script = fc.record({
      pieces: fc.array(fc.tuple(piece, fc.boolean()), { maxLength: 6 }),
      hasLength: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(script, async ({ pieces, hasLength }) => {
        const at = front.seen.length;
        const before = client.answers().length;
        await client.write(request);
        await until(() => front.seen.length > at);
        const exchange = front.seen[at]!;
        const body = Buffer.concat(pieces.map(([bytes]) => bytes));
        exchange.start(200, hasLength ? ['content-length', String(body.length)] : []);
        for (const [bytes, waits] of pieces) {
          exchange.write(bytes);
          if (waits) await new Promise(setImmediate);
        }
        exchange.end();
        await until(() => client.answers().length > before);
        expect(client.answers()[before]?.body).toBe(body.toString('latin1'));
        expect(exchange.bytes).toBe(body.length);
        client.text = '';
        front.seen.length = 0;
      }),
      { numRuns: 60 },
    );
  });
});
