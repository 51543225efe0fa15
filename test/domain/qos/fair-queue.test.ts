import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FlowRing } from '../../../domain/qos/flow-ring.ts';
import type { FlowItem } from '../../../domain/qos/flow-ring.ts';
import { FairQueue } from '../../../domain/qos/fair-queue.ts';
import type { QueueEntry } from '../../../domain/qos/fair-queue.ts';
import { tiers } from '../../../domain/qos/tier.ts';
import type { Tier } from '../../../domain/qos/tier.ts';

interface Item extends FlowItem<Item> {
  readonly tenant: string;
}

const weights = { critical: 80, high: 15, standard: 4, 'best-effort': 1 };
const ttl = (ms: number) => ({ critical: ms, high: ms, standard: ms, 'best-effort': ms });

function filled(
  arrivals: readonly { tier?: Tier; tenant?: string; cost?: number; bytes?: number; item?: string }[],
): FairQueue<string> {
  const queue = new FairQueue<string>(weights);
  for (const { tier = 'standard', tenant = 'a', cost = 1, bytes = 1, item = tenant } of arrivals)
    queue.add({ item, tier, tenant, cost, bytes }, 0);
  return queue;
}

function drain(queue: FairQueue<string>): string[] {
  const items: string[] = [];
  for (let entry = queue.take(); entry !== null; entry = queue.take()) items.push(entry.item);
  return items;
}

describe('whose turn it is between tiers', () => {
  test('shares are 80, 15, 4 and 1 of each hundred when all tiers wait all the time', () => {
    const queue = new FairQueue<Tier>(weights);
    const add = (tier: Tier) => queue.add({ item: tier, tier, tenant: 'a', cost: 1, bytes: 1 }, 0);
    for (const tier of tiers) for (let n = 0; n < 3; n += 1) add(tier);
    const taken = { critical: 0, high: 0, standard: 0, 'best-effort': 0 };
    for (let n = 0; n < 1000; n += 1) {
      const tier = queue.take()?.item ?? 'standard';
      taken[tier] += 1;
      add(tier);
    }
    for (const tier of tiers) expect(Math.abs(taken[tier] - weights[tier] * 10)).toBeLessThanOrEqual(1);
  });

  test('a tier that waits alone gets everything', () => {
    const queue = filled(Array.from({ length: 50 }, () => ({ tier: 'best-effort' as const })));
    expect(drain(queue)).toHaveLength(50);
  });

  test('a tier that was away has saved up nothing', () => {
    const queue = new FairQueue<Tier>(weights);
    const add = (tier: Tier) => queue.add({ item: tier, tier, tenant: 'a', cost: 1, bytes: 1 }, 0);
    for (let n = 0; n < 500; n += 1) {
      add('standard');
      queue.take();
    }
    for (let n = 0; n < 100; n += 1) for (const tier of ['standard', 'best-effort'] as const) add(tier);
    const first = Array.from({ length: 50 }, () => queue.take()?.item);
    expect(first.filter((tier) => tier === 'best-effort').length).toBeLessThanOrEqual(11);
    expect(first).toContain('best-effort');
  });

  test('new weights hold for those who wait already', () => {
    const queue = filled(
      tiers.flatMap((tier) => Array.from({ length: 40 }, () => ({ tier, item: tier, tenant: 'a' }))),
    );
    queue.setWeights({ critical: 1, high: 1, standard: 1, 'best-effort': 1 });
    const first = Array.from({ length: 40 }, () => queue.take()?.item);
    for (const tier of tiers) expect(first.filter((item) => item === tier)).toHaveLength(10);
  });
});

describe('whose turn it is between tenants of a tier', () => {
  test('each takes one turn, whatever the others have waiting', () => {
    const many = Array.from({ length: 5 }, () => ({ tenant: 'greedy' }));
    expect(drain(filled([...many, { tenant: 'b' }, { tenant: 'c' }, { tenant: 'b' }]))).toEqual([
      ...['greedy', 'b', 'c', 'greedy', 'b', 'greedy', 'greedy', 'greedy'],
    ]);
  });

  test('a tenant is served in the order of its arrivals', () => {
    const numbered = Array.from({ length: 9 }, (_, n) => ({ tenant: 'a', item: String(n) }));
    expect(drain(filled(numbered)).join('')).toBe('012345678');
  });

  test('a dear request is served at its turn, and its tenant then sits out what it cost', () => {
    const dear = [
      { tenant: 'dear', cost: 4 },
      { tenant: 'dear', cost: 4 },
    ];
    const cheap = Array.from({ length: 6 }, () => ({ tenant: 'cheap' }));
    expect(drain(filled([...dear, ...cheap])).join(' ')).toBe(
      'dear cheap cheap cheap cheap dear cheap cheap',
    );
  });

  test('a tenant does not lose its debt by waiting for nothing for a moment', () => {
    const queue = filled([
      { tenant: 'dear', cost: 3 },
      ...Array.from({ length: 9 }, () => ({ tenant: 'cheap' })),
    ]);
    const order: string[] = [];
    for (let n = 0; n < 8; n += 1) {
      const item = queue.take()?.item ?? '';
      order.push(item);
      if (item === 'dear') queue.add({ item, tier: 'standard', tenant: item, cost: 3, bytes: 1 }, 0);
    }
    expect(order.join(' ')).toBe('dear cheap cheap cheap dear cheap cheap cheap');
  });

  test('tenants that come new all the time do not keep one that waits from its turn', () => {
    const queue = filled([{ tenant: 'first' }, { tenant: 'old' }, { tenant: 'old', item: 'second of old' }]);
    const taken: (string | undefined)[] = [];
    for (let n = 0; n < 4; n += 1) {
      taken.push(queue.take()?.item);
      queue.add({ item: `new ${n}`, tier: 'standard', tenant: `new ${n}`, cost: 1, bytes: 1 }, 0);
    }
    expect(taken).toEqual(['first', 'old', 'new 0', 'second of old']);
  });
});

describe('the ring of tenants', () => {
  test('keeps a tenant that waits for nothing until its debt is paid, and no longer', () => {
    const ring = new FlowRing<Item>();
    const add = (tenant: string, cost: number) => {
      const item: Item = { tenant, cost, flow: null, flowPrevious: null, flowNext: null };
      ring.add(item);
      return item;
    };
    add('dear', 3);
    for (let n = 0; n < 6; n += 1) add('cheap', 1);
    const tenants = Array.from({ length: 5 }, () => [ring.take()?.tenant, ring.tenants]);
    expect(tenants).toEqual([
      ['dear', 2],
      ['cheap', 2],
      ['cheap', 2],
      ['cheap', 1],
      ['cheap', 1],
    ]);
  });

  test('forgets debts when nobody waits', () => {
    const ring = new FlowRing<Item>();
    const item: Item = { tenant: 'dear', cost: 16, flow: null, flowPrevious: null, flowNext: null };
    ring.add(item);
    expect([ring.take(), ring.take(), ring.tenants]).toEqual([item, null, 0]);
  });
});

describe('leaving the queue', () => {
  test('what waited longer than its tier may is taken out, and nothing else', () => {
    const queue = new FairQueue<string>(weights);
    const add = (item: string, tier: Tier, atMs: number) =>
      queue.add({ item, tier, tenant: item, cost: 1, bytes: 10 }, atMs);
    add('old', 'critical', 0);
    add('young', 'critical', 60);
    add('patient', 'best-effort', 0);
    const ttlMs = { ...ttl(100), 'best-effort': 1_000 };
    expect(queue.expire(99, ttlMs)).toEqual([]);
    expect(queue.expire(100, ttlMs).map(({ item }) => item)).toEqual(['old']);
    expect(queue.size).toBe(2);
    expect(queue.bytes).toBe(20);
    expect(drain(queue)).toEqual(['young', 'patient']);
  });

  test('an entry leaves once', () => {
    const queue = new FairQueue<string>(weights);
    const entry = queue.add({ item: 'a', tier: 'high', tenant: 'a', cost: 1, bytes: 7 }, 0);
    expect([queue.remove(entry), queue.remove(entry), queue.take()]).toEqual([true, false, null]);
    expect([queue.size, queue.bytes, queue.sizeOf('high'), queue.bytesOf('high')]).toEqual([0, 0, 0, 0]);
  });

  test.each<[Tier, string | null]>([
    ['critical', 'young best-effort'],
    ['standard', 'young best-effort'],
    ['best-effort', null],
  ])('a request of tier %s displaces %s', (tier, expected) => {
    const queue = filled([
      { tier: 'high', item: 'high' },
      { tier: 'best-effort', item: 'old best-effort' },
      { tier: 'best-effort', item: 'young best-effort' },
    ]);
    expect(queue.displaceable(tier)?.item ?? null).toBe(expected);
  });
});

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      tier: fc.constantFrom(...tiers),
      tenant: fc.constantFrom('a', 'b', 'c', 'd'),
      cost: fc.integer({ min: 1, max: 16 }),
      bytes: fc.integer({ min: 0, max: 100 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('take' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), at: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('expire' as const), ttlMs: fc.integer({ min: 1, max: 40 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('displace' as const), tier: fc.constantFrom(...tiers) }),
  },
);

describe('for any history of arrivals and departures', () => {
  test("each entry leaves exactly once, a taken one was its tenant's oldest, counts are right, work is conserved", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new FairQueue<number>(weights);
        const waiting = new Map<number, QueueEntry<number>>();
        let nowMs = 0;
        const gone = (entry: QueueEntry<number>) => {
          expect(waiting.delete(entry.item)).toBe(true);
          expect(entry.isWaiting).toBe(false);
        };
        for (const one of steps) {
          nowMs += 1;
          if (one.kind === 'add') waiting.set(nowMs, queue.add({ ...one, item: nowMs }, nowMs));
          if (one.kind === 'take') {
            const entry = queue.take();
            expect(entry === null).toBe(waiting.size === 0);
            if (entry === null) continue;
            gone(entry);
            for (const other of waiting.values()) {
              if (other.tier === entry.tier && other.tenant === entry.tenant)
                expect(other.item).toBeGreaterThan(entry.item);
            }
          }
          if (one.kind === 'remove') {
            const entry = [...waiting.values()][one.at % Math.max(1, waiting.size)];
            if (entry === undefined) continue;
            expect(queue.remove(entry)).toBe(true);
            gone(entry);
          }
          if (one.kind === 'expire') {
            const due = [...waiting.values()].filter((e) => nowMs - e.enqueuedAtMs >= one.ttlMs);
            const expired = queue.expire(nowMs, ttl(one.ttlMs));
            expect(new Set(expired)).toEqual(new Set(due));
            expired.forEach(gone);
          }
          if (one.kind === 'displace') {
            const entry = queue.displaceable(one.tier);
            const lower = [...waiting.values()].filter(
              (e) => tiers.indexOf(e.tier) > tiers.indexOf(one.tier),
            );
            expect(entry === null).toBe(lower.length === 0);
            if (entry === null) continue;
            const rank = Math.max(...lower.map((e) => tiers.indexOf(e.tier)));
            expect(tiers.indexOf(entry.tier)).toBe(rank);
            expect(entry.item).toBe(
              Math.max(...lower.filter((e) => e.tier === entry.tier).map((e) => e.item)),
            );
          }
          const all = [...waiting.values()];
          expect(queue.size).toBe(all.length);
          expect(queue.bytes).toBe(all.reduce((sum, { bytes }) => sum + bytes, 0));
          for (const tier of tiers)
            expect(queue.sizeOf(tier)).toBe(all.filter((entry) => entry.tier === tier).length);
        }
        const rest: QueueEntry<number>[] = [];
        for (let entry = queue.take(); entry !== null; entry = queue.take()) rest.push(entry);
        expect(new Set(rest)).toEqual(new Set(waiting.values()));
      }),
      { numRuns: 300 },
    );
  });

  test('tiers that wait without a break share as their weights do, whatever comes and goes beside them', () => {
    const weight = fc.integer({ min: 1, max: 100 });
    const any = fc.record({ critical: weight, high: weight, standard: weight, 'best-effort': weight });
    const pair = fc.uniqueArray(fc.constantFrom(...tiers), { minLength: 2, maxLength: 2 });
    fc.assert(
      fc.property(
        any,
        pair,
        fc.array(fc.constantFrom(...tiers), { maxLength: 400 }),
        (some, both, others) => {
          const queue = new FairQueue<Tier>(some);
          const add = (tier: Tier) => queue.add({ item: tier, tier, tenant: 'a', cost: 1, bytes: 0 }, 0);
          both.forEach(add);
          const taken = { critical: 0, high: 0, standard: 0, 'best-effort': 0 };
          const [one = 'high', two = 'high'] = both;
          for (let n = 0; n < 600; n += 1) {
            const extra = others[n];
            if (extra !== undefined && !both.includes(extra)) add(extra);
            const tier = queue.take()?.item ?? 'high';
            taken[tier] += 1;
            if (both.includes(tier)) add(tier);
            // Normalised service never differs by more than one request of each (the bound of start-time fair queuing).
            const apart = Math.abs(taken[one] / some[one] - taken[two] / some[two]);
            expect(apart).toBeLessThanOrEqual(1 / some[one] + 1 / some[two] + 1e-9);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test('no tier waits longer than W/w + 4 turns', () => {
    const weight = fc.integer({ min: 1, max: 100 });
    const any = fc.record({ critical: weight, high: weight, standard: weight, 'best-effort': weight });
    const arrivals = fc.array(fc.constantFrom(...tiers), { minLength: 50, maxLength: 400 });
    fc.assert(
      fc.property(any, fc.constantFrom(...tiers), arrivals, (some, watched, before) => {
        const queue = new FairQueue<Tier>(some);
        const add = (tier: Tier) => queue.add({ item: tier, tier, tenant: 'a', cost: 1, bytes: 0 }, 0);
        const others = tiers.filter((tier) => tier !== watched);
        for (const tier of before) {
          add(tier);
          if (queue.size > 5) queue.take();
        }
        while (queue.sizeOf(watched) > 0) queue.take();
        add(watched);
        const total = tiers.reduce((sum, tier) => sum + some[tier], 0);
        let turns = 0;
        do {
          for (const tier of others) if (queue.sizeOf(tier) === 0) add(tier);
          turns += 1;
        } while (queue.take()?.item !== watched);
        expect(turns).toBeLessThanOrEqual(total / some[watched] + 4);
      }),
      { numRuns: 200 },
    );
  });

  test('tenants that wait without a break are served within one dearest request of each other', () => {
    const tenants = fc.integer({ min: 2, max: 6 });
    fc.assert(
      fc.property(
        tenants,
        fc.array(fc.integer({ min: 1, max: 16 }), { minLength: 300, maxLength: 300 }),
        (n, costs) => {
          const queue = new FairQueue<number>(weights);
          const names = Array.from({ length: n }, (_, at) => String(at));
          let next = 0;
          const add = (tenant: string) => {
            queue.add(
              { item: next, tier: 'high', tenant, cost: costs[next % costs.length] ?? 1, bytes: 0 },
              0,
            );
            next += 1;
          };
          for (const name of names) for (let k = 0; k < 2; k += 1) add(name);
          const served = new Map(names.map((name) => [name, 0]));
          for (let turn = 0; turn < 300; turn += 1) {
            const entry = queue.take();
            if (entry === null) throw new Error('work was not conserved');
            served.set(entry.tenant, (served.get(entry.tenant) ?? 0) + entry.cost);
            add(entry.tenant);
            const all = [...served.values()];
            expect(Math.max(...all) - Math.min(...all)).toBeLessThanOrEqual(16 + 1);
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
