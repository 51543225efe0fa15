import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { forgottenAfterMs, goneAfterMs, lease, settle } from '../../../domain/budget/lease-book.ts';
import type { LeaseBook, LeaseCall } from '../../../domain/budget/lease-book.ts';
import { budgetKey, settleLua } from '../../../domain/budget/lease-script.ts';
import { RedisLeases } from '../../../gateway/budget/lease-source.ts';
import { SharedRedis, redisScript } from '../../../gateway/redis/shared-redis.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

let server: RedisServer;
let redis: SharedRedis;

beforeAll(async () => {
  server = await startRedis();
  redis = new SharedRedis({ url: server.url, logger: pino({ level: 'silent' }), commandMs: 2_000 });
  redis.start();
  await until(() => redis.isReady);
});

afterAll(async () => {
  redis.close();
  await server.stop();
});

const amounts = (max: number) =>
  fc.record({ tokens: fc.nat({ max }), micros: fc.nat({ max: max * 1_000_000 }) });
const call = fc.record({
  gateway: fc.constantFrom('a', 'b', 'c'),
  sequence: fc.nat({ max: 3 }),
  want: fc.record({
    tokens: fc.integer({ min: -50, max: 100 }),
    micros: fc.integer({ min: -50, max: 9_000 }),
  }),
  granted: amounts(500),
  offline: amounts(50),
  spent: amounts(500),
  epoch: fc.constantFrom('', 'first', 'old'),
  known: amounts(900),
  newEpoch: fc.constantFrom('first', 'second'),
});
const limits = fc.record({
  tokens: fc.oneof(fc.constant(Infinity), fc.nat({ max: 2_000 })),
  micros: fc.oneof(fc.constant(Infinity), fc.nat({ max: 1_000_000_000_000 })),
});
let books = 0;

describe('the book in Redis', () => {
  withRedis('answers every row of calls as the book in memory does', async () => {
    const leases = new RedisLeases(redis);
    await fc.assert(
      fc.asyncProperty(limits, fc.array(call, { maxLength: 20 }), async (limit, calls) => {
        const window = `book-${(books += 1)}|total`;
        let book: LeaseBook | null = null;
        for (const one of calls) {
          const next: ReturnType<typeof lease> = lease(book, limit, one, Date.now());
          ({ book } = next);
          expect(await leases.lease(window, Infinity, limit, one)).toEqual(next.answer);
        }
      }),
      { numRuns: 150 },
    );
  });

  withRedis('settles as the book in memory does', async () => {
    const leases = new RedisLeases(redis);
    const script = redisScript(settleLua);
    const spent = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), amounts(500));
    await fc.assert(
      fc.asyncProperty(
        limits,
        fc.array(call, { minLength: 1, maxLength: 12 }),
        spent,
        async (limit, calls, truth) => {
          const window = `book-${(books += 1)}|total`;
          let book: LeaseBook | null = null;
          for (const one of calls) {
            ({ book } = lease(book, limit, one, 0));
            await leases.lease(window, Infinity, limit, one);
          }
          // Everybody counts as gone at once.
          const expected = settle(book!, truth, goneAfterMs);
          const args = Object.entries(truth).flatMap(([id, { tokens, micros }]) => [id, tokens, micros]);
          await until(async () => {
            const answer = await redis.run(script, [budgetKey(window)], [1, forgottenAfterMs, ...args]);
            return (
              Array.isArray(answer) && answer.length === 3 && answer[2] === Object.keys(book!.entries).length
            );
          });
          const probe: LeaseCall = { ...calls[0]!, gateway: 'z', epoch: '', granted: none, want: none };
          const total = (await leases.lease(window, Infinity, limit, probe))?.total;
          expect(total).toEqual(lease(expected.book, limit, probe, 0).answer.total);
        },
      ),
      { numRuns: 60 },
    );
  });

  withRedis('forgets gateways that are long gone, and keeps what they spent', async () => {
    const leases = new RedisLeases(redis);
    const limit = { tokens: 1_000, micros: Infinity };
    const one = { ...fc.sample(call, { numRuns: 1, seed: 1 })[0]!, epoch: '', granted: none, offline: none };
    const first = { ...one, gateway: 'gone', sequence: 1, want: { tokens: 300, micros: 0 } };
    await leases.lease('long|total', Infinity, limit, first);
    const key = budgetKey('long|total');
    const args = [0, 0, 'gone', 120, 0];
    expect(await redis.run(redisScript(settleLua), [key], args)).toEqual(['180', '0', 1]);
    expect(await redis.client.hkeys(key)).not.toContain('g:gone');
    expect(await redis.run(redisScript(settleLua), [key], args)).toEqual(['0', '0', 0]);
    const second = { ...one, gateway: 'next', sequence: 1, want: { tokens: 999, micros: 0 } };
    expect((await leases.lease('long|total', Infinity, limit, second))?.grant.tokens).toBe(880);
  });

  withRedis('lets a window go some days after its end, and a budget without end never', async () => {
    const leases = new RedisLeases(redis);
    const one = fc.sample(call, { numRuns: 1, seed: 1 })[0]!;
    const limit = { tokens: 1, micros: 1 };
    await leases.lease('ends|2026', Date.now() + 1_000, limit, one);
    await leases.lease('never|total', Infinity, limit, one);
    expect(await redis.client.pttl(budgetKey('ends|2026'))).toBeGreaterThan(0);
    expect(await redis.client.pttl(budgetKey('never|total'))).toBe(-1);
  });

  withRedis('gives no answer when Redis is gone', async () => {
    const away = new SharedRedis({ url: 'redis://127.0.0.1:1', logger: pino({ level: 'silent' }) });
    const one = fc.sample(call, { numRuns: 1, seed: 1 })[0]!;
    expect(await new RedisLeases(away).lease('w', 0, { tokens: 1, micros: 1 }, one)).toBeNull();
    away.close();
  });
});

const none = { tokens: 0, micros: 0 };
