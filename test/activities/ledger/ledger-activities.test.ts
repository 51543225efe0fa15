import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { Redis } from 'ioredis';
import { ledgerActivities } from '../../../activities/ledger/ledger-activities.ts';
import { redisBooks } from '../../../activities/ledger/redis-books.ts';
import type { Books } from '../../../activities/ledger/redis-books.ts';
import { budgetKey, leaseLua } from '../../../domain/budget/lease-script.ts';
import { MusterError } from '../../../domain/errors.ts';
import type { Settlement } from '../../../domain/ledger/messages.ts';
import type { WindowSpending } from '../../../domain/usage/usage-record.schema.ts';
import { leaseArguments } from '../../../gateway/budget/lease-source.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

/** The control API's pages of windows. */
class FakeApi {
  windows: WindowSpending[] = [];
  asked: string[] = [];

  call<T>(_method: string, path: string, schema: { parse(value: unknown): T }): Promise<T> {
    const query = new URL(path, 'http://x').searchParams;
    this.asked.push(path);
    const after = query.get('after') ?? '';
    const page = this.windows.filter(({ window }) => window > after).slice(0, Number(query.get('limit')));
    return Promise.resolve(schema.parse({ windows: page }));
  }
}

const window = (name: string, spent: Record<string, number>): WindowSpending => ({
  window: name,
  endMs: null,
  spent: Object.entries(spent).map(([gateway, tokens]) => ({ gateway, tokens, micros: tokens * 2 })),
});

describe('the settling of budgets', () => {
  let api: FakeApi;
  beforeEach(() => {
    api = new FakeApi();
  });
  let heartbeat: unknown;
  /** One try of the activity, with what the try before it left behind. */
  const settle = (books: Books | null, heartbeatDetails?: unknown): Promise<Settlement> => {
    const { ledgerSettle } = ledgerActivities({ api, books, now: () => 1_000_000_000 });
    const environment = new MockActivityEnvironment({ heartbeatDetails });
    environment.on('heartbeat', (details: unknown) => {
      heartbeat = details;
    });
    return environment.run<[], Settlement, () => Promise<Settlement>>(ledgerSettle);
  };

  test('has nothing to do where gateways share no books', async () => {
    expect(await settle(null)).toMatchObject({ windows: 0, isWithoutBooks: true });
    expect(api.asked).toEqual([]);
  });

  test('goes through all windows, page by page, each once', async () => {
    api.windows = Array.from({ length: 450 }, (_, at) => window(`w${String(at).padStart(4, '0')}`, {}));
    const seen: string[] = [];
    const books: Books = {
      settle: (one) => {
        seen.push(one.window);
        return Promise.resolve({ gone: 1, returnedTokens: 2, returnedMicros: -3 });
      },
      close: () => undefined,
    };
    expect(await settle(books)).toEqual({
      windows: 450,
      gone: 450,
      returnedTokens: 900,
      returnedMicros: -1350,
      isWithoutBooks: false,
    });
    expect(seen).toEqual(api.windows.map((one) => one.window));
    expect(api.asked).toHaveLength(3);
  });

  test('goes on in its next try where the last heartbeat stood, and counts all', async () => {
    api.windows = Array.from({ length: 450 }, (_, at) => window(`w${String(at).padStart(4, '0')}`, {}));
    const seen: string[] = [];
    let left = 410;
    const books: Books = {
      settle: (one) => {
        if ((left -= 1) < 0) return Promise.reject(new Error('Redis is gone'));
        seen.push(one.window);
        return Promise.resolve({ gone: 1, returnedTokens: 2, returnedMicros: -3 });
      },
      close: () => undefined,
    };
    await expect(settle(books)).rejects.toThrow('Redis is gone');
    [left, seen.length] = [900, 0];
    const all = { windows: 450, gone: 450, returnedTokens: 900, returnedMicros: -1350 };
    expect(await settle(books, heartbeat)).toEqual({ ...all, isWithoutBooks: false });
    expect(seen).toEqual(api.windows.slice(400).map((one) => one.window));
    // What another version of the worker left there says nothing: all over again.
    expect(await settle(books, 'w0399')).toMatchObject({ windows: 450 });
  });

  test('fails, to be tried again, when the books cannot be reached', async () => {
    api.windows = [window('w', {})];
    const error = new MusterError('control_unavailable', 'no');
    const books: Books = { settle: () => Promise.reject(error), close: () => undefined };
    await expect(settle(books)).rejects.toMatchObject({ type: 'control_unavailable', nonRetryable: false });
  });
});

describe('the books in Redis', () => {
  let server: RedisServer;
  let redis: Redis;
  let books: Books;
  beforeEach(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
    books = redisBooks(server.url);
  });
  afterEach(async () => {
    books.close();
    redis.disconnect();
    await server.stop();
  });

  const limits = { tokens: 1_000, micros: Infinity };
  const lease = async (gateway: string, tokens: number, sequence = 1): Promise<number> => {
    const none = { tokens: 0, micros: 0 };
    const call = {
      ...{ gateway, sequence, want: { tokens, micros: 0 }, granted: none, offline: none, spent: none },
      ...{ epoch: '', known: none, newEpoch: 'e' },
    };
    const answer = (await redis.eval(
      leaseLua,
      1,
      budgetKey('w|total'),
      ...leaseArguments(Infinity, limits, call),
    )) as unknown[];
    return Number(answer[1]);
  };
  /** As if a gateway had called for the last time two minutes ago, and the book begun long before. */
  const age = async (gateway: string): Promise<void> => {
    const key = budgetKey('w|total');
    await redis.hset(key, 'b', 1);
    const entry = (await redis.hget(key, `g:${gateway}`)) ?? '';
    await redis.hset(key, `g:${gateway}`, entry.replace(/\d+$/, String(Date.now() - 120_000)));
  };

  withRedis('give what a gateway that is gone had leased and not spent to the others, once', async () => {
    expect(await lease('dead', 700)).toBe(700);
    expect(await lease('alive', 300)).toBe(300);
    await age('dead');
    const spending = window('w|total', { dead: 120, alive: 10 });
    expect(await books.settle(spending)).toEqual({ gone: 1, returnedTokens: 580, returnedMicros: -240 });
    expect(await books.settle(spending)).toEqual({ gone: 1, returnedTokens: 0, returnedMicros: 0 });
    expect(await lease('alive', 900, 2)).toBeGreaterThan(0);
  });

  withRedis(
    'take in what comes to the ledger late, and the share of a gateway that was only away',
    async () => {
      await lease('late', 500);
      await age('late');
      expect(await books.settle(window('w|total', {}))).toMatchObject({ returnedTokens: 500 });
      expect(await books.settle(window('w|total', { late: 80 }))).toMatchObject({ returnedTokens: -80 });
      // It calls again: what it was granted is its own again.
      const none = { tokens: 0, micros: 0 };
      const call = {
        ...{ gateway: 'late', sequence: 2, want: none, granted: { tokens: 500, micros: 0 }, offline: none },
        ...{ spent: { tokens: 90, micros: 0 }, epoch: 'e', known: none, newEpoch: 'f' },
      };
      const args = leaseArguments(Infinity, limits, call);
      expect(((await redis.eval(leaseLua, 1, budgetKey('w|total'), ...args)) as unknown[])[3]).toBe('500');
    },
  );

  withRedis('are left alone while they are young, and where there is none', async () => {
    expect(await books.settle(window('w|total', { a: 5 }))).toBeNull();
    await lease('a', 10);
    expect(await books.settle(window('w|total', { a: 5 }))).toBeNull();
  });

  withRedis('cannot be settled while Redis is gone', async () => {
    await books.settle(window('w|total', {}));
    await server.kill();
    await expect(books.settle(window('w|total', {}))).rejects.toThrow();
  });
});
