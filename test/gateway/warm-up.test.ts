import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { defaultLimits } from '../../gateway/limits.ts';
import { answerAll, isWhole, rehearsalRequests } from '../../gateway/warm-up-traffic.ts';
import { warmUp } from '../../gateway/warm-up.ts';
import { until } from '../fixtures/gateway/control-api.ts';

const options = {
  limits: defaultLimits,
  logger: pino({ level: 'silent' }),
  version: '0',
  mayListenOn: () => true,
};

const servers = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap').length;

describe('the rehearsal before a gateway opens its port', () => {
  test('has its requests answered, and ends by itself', async () => {
    const { requests, refused } = await warmUp({ ...options, msMax: 3_000 });
    expect(requests).toBeGreaterThan(8 * rehearsalRequests('key', 0).length);
    expect(refused).toBe(0);
  });

  test.each([
    ['its time is over', () => ({ msMax: 100 })],
    ['it is aborted', () => ({ msMax: 60_000, signal: AbortSignal.timeout(100) })],
  ])('ends when %s', async (_, how) => {
    const { requests } = await warmUp({ ...options, ...how() });
    expect(requests).toBeLessThan(12_000); // it would ask twice as many
  });

  test('is over at once where it was aborted before', async () => {
    expect(await warmUp({ ...options, msMax: 60_000, signal: AbortSignal.abort() })).toEqual({
      requests: 0,
      refused: 0,
    });
  });

  test('that cannot begin leaves no port open', async () => {
    let asked = 0;
    const mayListenOn = () => {
      asked += 1;
      if (asked === 2) throw new Error('no');
      return true;
    };
    await expect(warmUp({ ...options, msMax: 100, mayListenOn })).rejects.toThrow('no');
    await until(() => servers() === 0);
  });

  test('leaves no port open', async () => {
    await warmUp({ ...options, msMax: 20 });
    await until(() => servers() === 0);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, resolve));
    expect(servers()).toBe(1);
    await new Promise((resolve) => server.close(resolve));
  });

  test('leaves no timer running', async () => {
    const made = jest.spyOn(globalThis, 'setInterval');
    const cleared = jest.spyOn(globalThis, 'clearInterval');
    try {
      await warmUp({ ...options, msMax: 100 });
      const timers = made.mock.results.map(({ value }) => value);
      expect(timers.length).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 300)); // a wheel that has nothing left ends at its next turn
      const ended = new Set<unknown>(cleared.mock.calls.map(([timer]) => timer));
      expect(timers.filter((timer) => !ended.has(timer))).toEqual([]);
    } finally {
      made.mockRestore();
      cleared.mockRestore();
    }
  });

  test('tells that it was refused where nothing can be served', async () => {
    const limits = { ...defaultLimits, inFlightMax: 0 };
    const { requests, refused } = await warmUp({ ...options, limits, msMax: 500 });
    expect(requests).toBeGreaterThan(0);
    expect(refused).toBe(requests);
  });

  test('listens on no port that the gateway is about to open', async () => {
    const refused: number[] = [];
    const used: number[] = [];
    const { requests } = await warmUp({
      ...options,
      msMax: 100,
      mayListenOn: (port) => {
        const isRefused = refused.length < 3;
        (isRefused ? refused : used).push(port);
        return !isRefused;
      },
    });
    expect(requests).toBeGreaterThan(0);
    expect(used).toHaveLength(3);
    expect(used.filter((port) => refused.includes(port))).toEqual([]);
  });
});

describe('what a rehearsal asks and answers', () => {
  test('requests differ in their heads, and in more lists of fields than V8 keeps apart', () => {
    const heads = new Set<string>();
    const bodies = rehearsalRequests('key', 0).map((request) => {
      const text = request.toString('latin1');
      const headEnd = text.indexOf('\r\n\r\n');
      expect(Number(/content-length: (\d+)/.exec(text)?.[1])).toBe(text.length - headEnd - 4);
      heads.add(namesOf(text.slice(0, headEnd)));
      return Object.keys(JSON.parse(text.slice(headEnd + 4)) as object).join();
    });
    expect(heads.size).toBe(5);
    expect(new Set(bodies).size).toBe(6 * 3 + 2); // chats by how they are streamed, and inferences
  });

  test('answers are whole, differ in their heads, and say of streams what was asked', async () => {
    const heads = new Set<string>();
    for (const { text } of await answers(30)) {
      heads.add(namesOf(text.slice(0, text.indexOf('\r\n\r\n'))));
    }
    expect(heads.size).toBe(2 * 5); // of streams and of others
    for (const { text, asked } of await answers(24)) {
      const body = text.slice(text.indexOf('\r\n\r\n') + 4);
      if (!asked.stream) {
        expect(JSON.parse(body)).toMatchObject({ object: 'chat.completion' });
        continue;
      }
      const events = unframed(body).split('\n\n');
      expect(events.splice(-2)).toEqual(['data: [DONE]', '']);
      const told = events.map((event) => JSON.parse(event.replace(/^data: /, '')) as { usage?: unknown });
      expect(told.some(({ usage }) => typeof usage === 'object' && usage !== null)).toBe(asked.withUsage);
    }
  });

  test('streams end in one read or in several, and some have an event in two pieces', async () => {
    const reads = (await answers(24)).filter(({ asked }) => asked.stream).map(({ pieces }) => pieces);
    const lasts = reads.map((pieces) => pieces.at(-1) ?? '');
    expect(lasts.some((last) => last === '0\r\n\r\n')).toBe(true);
    expect(lasts.some((last) => last.includes('"stop"') && last.endsWith('0\r\n\r\n'))).toBe(true);
    const all = reads.flat();
    expect(all.some((piece) => piece.includes('data: ') && !piece.endsWith('\n\n\r\n'))).toBe(true);
    expect(all.some((piece) => /^\w+\r\n(?!data: )/.test(piece) && !piece.startsWith('0'))).toBe(true);
  });
});

interface Asked {
  readonly stream: boolean;
  readonly withUsage: boolean;
}

/** What is read of a server of the rehearsal, one request after another on one connection. */
async function answers(count: number): Promise<{ asked: Asked; text: string; pieces: string[] }[]> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    answerAll(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  try {
    const all: { asked: Asked; text: string; pieces: string[] }[] = [];
    for (let at = 0; at < count; at += 1) {
      const asked = { stream: at % 2 > 0, withUsage: at % 4 > 2 };
      const body = JSON.stringify({
        stream: asked.stream,
        stream_options: { include_usage: asked.withUsage },
      });
      const pieces: string[] = [];
      const whole = new Promise<void>((resolve) => {
        client.on('data', (bytes) => {
          pieces.push(bytes.toString('latin1'));
          if (isWhole(pieces.join(''))) resolve();
        });
      });
      client.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      await whole;
      client.removeAllListeners('data');
      all.push({ asked, text: pieces.join(''), pieces });
    }
    return all;
  } finally {
    for (const socket of [client, ...sockets]) socket.destroy();
    server.close();
  }
}

/** The fields of a head, in their order. */
function namesOf(head: string): string {
  return head
    .split('\r\n')
    .slice(1)
    .map((line) => line.slice(0, line.indexOf(':')))
    .join();
}

function unframed(chunked: string): string {
  let text = '';
  for (let at = 0; at < chunked.length;) {
    const sizeEnd = chunked.indexOf('\r\n', at);
    const size = parseInt(chunked.slice(at, sizeEnd), 16);
    text += chunked.slice(sizeEnd + 2, sizeEnd + 2 + size);
    at = sizeEnd + 2 + size + 2;
  }
  return text;
}
