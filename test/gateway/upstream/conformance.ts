import { afterEach, describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import { CommonHeaders } from '../../../gateway/upstream/upstream.ts';
import type { Connect, Upstream } from '../../../gateway/upstream/upstream.ts';
import { ask, text } from '../../fixtures/upstream/ask.ts';
import { echo, refusingAddress, startBackend, startRawBackend } from '../../fixtures/gateway/backends.ts';
import type { RawBackend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';

/** A connection need not be free within the very call that tells of the end. */
const aMoment = () => new Promise((resolve) => setImmediate(resolve));

/** What every way of asking a server must do, over real sockets. */
// eslint-disable-next-line jest/no-export -- one suite, run for each implementation
export function upstreamSuite(name: string, connect: (connectMs: number) => Connect): void {
  describe(`${name} as an upstream`, () => {
    const closers: (() => void | Promise<void>)[] = [];
    afterEach(async () => {
      for (const close of closers.splice(0)) await close();
    });
    const open = (address: string): Upstream => {
      const upstream = connect(1_000)(address);
      closers.push(() => {
        upstream.close();
      });
      return upstream;
    };
    const raw = async (
      onData: (socket: Socket, received: Buffer) => void,
    ): Promise<[Upstream, RawBackend]> => {
      const backend = await startRawBackend(onData);
      closers.push(() => backend.close());
      return [open(backend.address), backend];
    };
    const answering = (answer: string, isClosing = false) =>
      raw((socket, received) => {
        if (!received.subarray(-4).equals(Buffer.from('\r\n\r\n'))) return;
        socket.write(answer, 'latin1');
        if (isClosing) socket.end();
      });

    test('the request arrives as it was given, with the endpoint as host', async () => {
      const backend = await startBackend(echo);
      closers.push(() => backend.close());
      const body = Buffer.from('{"a":"é"}');
      const headers = ['content-type', 'application/json', 'x-twice', 'a', 'x-twice', 'b'];
      const common = new CommonHeaders(['x-shared', 'yes', 'x-twice', 'c']);
      const seen = await ask(open(backend.address), { path: '/v1/x?y=1', headers, common, body }).outcome;
      expect(seen.events).toEqual(['sent', 'head', 'data', 'end']);
      const [got] = backend.seen;
      expect(got).toMatchObject({ method: 'POST', url: '/v1/x?y=1', body });
      expect(got?.headers).toMatchObject({
        host: backend.address.slice('http://'.length),
        'content-type': 'application/json',
        'content-length': String(body.length),
        'x-twice': 'c, a, b',
        'x-shared': 'yes',
      });
    });

    test.each([0, 1, 8_000, 65_536, 70_000, 3_000_000])('a body of %p bytes arrives whole', async (size) => {
      const body = Buffer.alloc(size, 'abcdefghijk');
      const backend = await startBackend((seen, response) => response.end(String(seen.body.equals(body))));
      closers.push(() => backend.close());
      const upstream = open(backend.address);
      for (let i = 0; i < 3; i += 1) expect(text(await ask(upstream, { body }).outcome)).toBe('true');
    });

    test.each([
      ['a length', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', 'hello'],
      [
        'chunks',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
        'hello',
      ],
      [
        'chunks with extensions and trailers',
        'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2;a=b\r\nhe\r\n3;c="d e"\r\nllo\r\n0\r\nx-t: 1\r\ny: 2\r\n\r\n',
        'hello',
      ],
      ['no content', 'HTTP/1.1 204 No Content\r\n\r\n', ''],
      ['an empty length', 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n', ''],
      ['no reason', 'HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok', 'ok'],
    ])('a response framed by %s is read, and its connection used again', async (_name, answer, body) => {
      const [upstream, backend] = await answering(answer);
      for (let i = 0; i < 3; i += 1) {
        const seen = await ask(upstream, { method: 'GET' }).outcome;
        expect(seen.failure).toBeNull();
        expect(text(seen)).toBe(body);
        await aMoment();
      }
      expect(backend.received).toHaveLength(1);
    });

    test.each([
      ['until the close', 'HTTP/1.1 200 OK\r\n\r\nhello', true],
      [
        'with connection: close',
        'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello',
        false,
      ],
      ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\nhello', true],
    ])('a response %s is whole, and its connection not used again', async (_name, answer, isClosing) => {
      const [upstream, backend] = await answering(answer, isClosing);
      for (let i = 0; i < 2; i += 1) {
        const seen = await ask(upstream, { method: 'GET' }).outcome;
        expect([seen.failure, text(seen)]).toEqual([null, 'hello']);
      }
      expect(backend.received).toHaveLength(2);
    });

    test('headers come in lower case, repeated ones apart', async () => {
      const [upstream] = await answering(
        'HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Y:  z \r\ncontent-length: 0\r\n\r\n',
      );
      const { headers } = await ask(upstream, { method: 'GET' }).outcome;
      expect(headers['set-cookie']).toEqual(['a=1', 'b=2']);
      expect(String(headers['x-y']).trim()).toBe('z');
    });

    test('nobody listens: refused, and never sent', async () => {
      const seen = await ask(open(await refusingAddress())).outcome;
      expect(seen.events).toEqual(['failure']);
      expect(seen.failure).toMatchObject({ kind: 'refused', code: 'ECONNREFUSED' });
    });

    test.each<[string, (socket: Socket) => void, string, string[]]>([
      ['resets before an answer', (s) => s.resetAndDestroy(), 'reset', ['sent', 'failure']],
      ['closes before an answer', (s) => s.end(), 'reset', ['sent', 'failure']],
      ['closes within the head', (s) => s.end('HTTP/1.1 200 OK\r\ncont'), 'reset', ['sent', 'failure']],
      [
        'closes within a length',
        (s) => s.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'),
        'reset',
        ['sent', 'head', 'data', 'failure'],
      ],
      [
        'closes within chunks',
        (s) => s.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n'),
        'reset',
        ['sent', 'head', 'data', 'failure'],
      ],
      ['is silent', () => undefined, 'timeout', ['sent', 'failure']],
      ['falls silent within the head', (s) => s.write('HTTP/1.1 200'), 'timeout', ['sent', 'failure']],
      [
        'falls silent within the body',
        (s) => s.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'),
        'timeout',
        ['sent', 'head', 'data', 'failure'],
      ],
      ['speaks something else', (s) => s.write('SSH-2.0-OpenSSH_9.2\r\n'), 'garbage', ['sent', 'failure']],
      [
        'sends a chunk of no size',
        (s) => s.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n'),
        'garbage',
        ['sent', 'head', 'failure'],
      ],
      [
        'sends a head without end',
        (s) => s.write(`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(30_000)}`),
        'garbage',
        ['sent', 'failure'],
      ],
    ])('a server that %p', async (_name, misbehave, kind, events) => {
      const [upstream] = await raw((socket) => {
        misbehave(socket);
      });
      const seen = await ask(upstream, { headersMs: 300, bodyIdleMs: 300 }).outcome;
      expect([seen.failure?.kind, seen.events]).toEqual([kind, events]);
    });

    test('a request that is given up hears nothing more, and its connection is closed', async () => {
      let isClosed = false;
      const [upstream, backend] = await raw((socket) => {
        socket.on('close', () => (isClosed = true));
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc');
      });
      const { seen } = ask(
        upstream,
        {},
        {
          onData: (call) => {
            call.abort();
          },
        },
      );
      await until(() => isClosed);
      expect(seen.events).toEqual(['sent', 'head', 'data']);
      await ask(upstream, { bodyIdleMs: 100 }).outcome;
      expect(backend.received).toHaveLength(2);
    });

    test('a request that is given up before it has a connection is never sent', async () => {
      const backend = await startBackend(echo);
      closers.push(() => backend.close());
      const upstream = open(backend.address);
      const { call, seen } = ask(upstream);
      call.abort();
      await ask(upstream, { path: '/second' }).outcome;
      expect(seen.events.filter((event) => event !== 'sent')).toEqual([]);
      expect(backend.seen.map(({ url }) => url)).toEqual(['/second']);
    });

    test('while paused no data comes, and the server is held back; resumed, all of it comes', async () => {
      const size = 32 * 1024 * 1024;
      let isTaken = false;
      const [upstream] = await raw((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
        isTaken = socket.write(Buffer.alloc(size, 'x'), () => (isTaken = true));
      });
      let paused = 0;
      const { call, outcome, seen } = ask(
        upstream,
        {},
        {
          onData: (own, { chunks }) => {
            if (paused === 0) {
              own.pause();
              paused = chunks.length;
            }
          },
        },
      );
      await until(() => paused > 0);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect([seen.chunks.length, isTaken]).toEqual([paused, false]);
      call.resume();
      expect(text(await outcome)).toHaveLength(size);
    });

    test('many at once each get their own answer', async () => {
      const backend = await startBackend((seen, response) =>
        setTimeout(() => response.end(seen.body), Math.random() * 20),
      );
      closers.push(() => backend.close());
      const upstream = open(backend.address);
      const all = Array.from(
        { length: 200 },
        (_, i) => ask(upstream, { body: Buffer.from(`number ${i}`) }).outcome,
      );
      expect((await Promise.all(all)).map(text)).toEqual(all.map((_, i) => `number ${i}`));
    });
  });
}
