import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { defaultLimits } from '../../gateway/limits.ts';
import { answerAll, rehearsalRequests } from '../../gateway/warm-up-traffic.ts';
import { warmUp } from '../../gateway/warm-up.ts';

const options = {
  limits: defaultLimits,
  logger: pino({ level: 'silent' }),
  version: '0',
  mayListenOn: () => true,
};

describe('the rehearsal before a gateway opens its port', () => {
  test('has its requests answered, and ends by itself', async () => {
    const { requests, refused } = await warmUp({ ...options, msMax: 3_000 });
    expect(requests).toBeGreaterThan(8 * rehearsalRequests('key', 0).length); // each connection asks all it has
    expect(refused).toBe(0);
  });

  test('leaves no port open', async () => {
    const open = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap').length;
    const before = open();
    await warmUp({ ...options, msMax: 20 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(open()).toBe(before);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, resolve));
    expect(open()).toBe(before + 1);
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

  test('ends in its time even where nothing can be served', async () => {
    const limits = { ...defaultLimits, inFlightMax: 0 };
    const { requests, refused } = await warmUp({ ...options, limits, msMax: 1_000 });
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
  test('bodies come with more lists of fields than V8 keeps apart, each with its length', () => {
    const bodies = rehearsalRequests('key', 0).map((request) => {
      const text = request.toString('latin1');
      const headEnd = text.indexOf('\r\n\r\n');
      expect(Number(/content-length: (\d+)/.exec(text)?.[1])).toBe(text.length - headEnd - 4);
      return Object.keys(JSON.parse(text.slice(headEnd + 4)) as object).join();
    });
    expect(new Set(bodies).size).toBe(6 * 3 + 2); // chats by how they are streamed, and inferences
  });

  test('answers are whole in each manner, and say of streams what was asked', async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      answerAll(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      for (let manner = 0; manner < 30; manner += 1) {
        const isStream = manner % 3 > 0;
        const withUsage = manner % 3 > 1;
        const body = { model: 'm', stream: isStream, stream_options: { include_usage: withUsage } };
        const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
          method: 'POST',
          body: JSON.stringify(body),
        });
        const text = await answer.text();
        if (!isStream) {
          expect(JSON.parse(text)).toMatchObject({ object: 'chat.completion' });
          continue;
        }
        const events = text.split('\n\n').map((event) => event.replace(/^data: /, ''));
        expect(events.splice(-2)).toEqual(['[DONE]', '']);
        const told = events.map((event) => JSON.parse(event) as { usage?: unknown });
        expect(told.some(({ usage }) => typeof usage === 'object' && usage !== null)).toBe(withUsage);
      }
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
});
