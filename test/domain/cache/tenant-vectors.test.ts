import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { TenantVectors } from '../../../domain/cache/tenant-vectors.ts';
import { Vectors, unit } from '../../../domain/cache/vectors.ts';

const some = unit([1, 2, 3, 4]) ?? new Float32Array();
/** Of eight prompts: the least that a tenant has. */
const least = Vectors.bytesMin(4, 1_000);

function prompts(bytesMax: number) {
  const all = new TenantVectors();
  all.use(bytesMax, 0);
  return {
    all,
    learn: (tenant: string, name: string | number, untilMs = 100, nowMs = 0) => {
      const learnt = { frame: `f${name}`, key: `k${name}`, vector: some, rowsMax: 1_000, untilMs };
      all.add(tenant, learnt, nowMs);
    },
    knows: (tenant: string, name: string | number) =>
      all.nearest(tenant, `f${name}`, some, 0.9)?.key === `k${name}`,
  };
}

describe('prompts of many tenants in a full memory', () => {
  test('make room for those of a small one: the largest loses its oldest', () => {
    const { all, learn, knows } = prompts(9 * least);
    for (let at = 0; at < 500; at += 1) learn('large', at);
    const count = all.size;
    const oldest = 500 - count;
    expect(count).toBeGreaterThan(40);
    expect([knows('large', oldest - 1), knows('large', oldest)]).toEqual([false, true]);
    // They take what is left, and then of the large one's.
    for (const name of ['a', 'b']) learn(name, 'x');
    for (const name of ['a', 'b']) expect(knows(name, 'x')).toBe(true);
    expect([knows('large', oldest), knows('large', 499)]).toEqual([false, true]);
    expect(all.size).toBeGreaterThan(count * 0.7);
  });

  test('are not copied for one that has as many as it may have', () => {
    const { all, learn, knows } = prompts(1_000 * least);
    const grow = jest.spyOn(Vectors.prototype, 'grow');
    for (let at = 0; at < 1_000; at += 1) learn('a', at);
    const grown = grow.mock.calls.length;
    expect(grown).toBeGreaterThan(0);
    for (let at = 1_000; at < 1_100; at += 1) learn('a', at);
    expect(grow.mock.calls.length).toBe(grown);
    expect([all.size, knows('a', 99), knows('a', 100)]).toEqual([1_000, false, true]);
    grow.mockRestore();
  });

  test('stay, whatever another tenant asks', () => {
    const { learn, knows } = prompts(16 * least);
    for (const tenant of ['a', 'b', 'c']) for (let at = 0; at < 8; at += 1) learn(tenant, at);
    for (let at = 0; at < 5_000; at += 1) learn('flood', at);
    for (const tenant of ['a', 'b', 'c'])
      for (let at = 0; at < 8; at += 1) expect(knows(tenant, at)).toBe(true);
    expect([knows('flood', 4_999), knows('flood', 0)]).toEqual([true, false]);
  });

  test('come to be as many of each tenant that wants more', () => {
    const { all, learn } = prompts(32 * least);
    for (let at = 0; at < 500; at += 1) learn('first', at);
    for (let at = 0; at < 500; at += 1) for (const tenant of ['first', 'second', 'third']) learn(tenant, at);
    const counts = ['first', 'second', 'third'].map((tenant) => {
      let count = 0;
      for (let at = 0; at < 500; at += 1) if (all.nearest(tenant, `f${at}`, some, 0.9) !== null) count += 1;
      return count;
    });
    expect(Math.max(...counts)).toBeLessThanOrEqual(2 * Math.min(...counts));
  });

  test('go first where their answers are gone', () => {
    const { learn, knows } = prompts(9 * least); // of 72 prompts
    for (let at = 0; at < 8; at += 1) learn('gone', at, 100);
    for (let at = 0; at < 62; at += 1) learn('large', at, 1_000);
    learn('new', 'x', 1_000, 100);
    expect([knows('gone', 7), knows('large', 0), knows('new', 'x')]).toEqual([false, true, true]);
  });

  test('go with their tenant, the least recently used, where nobody has more than the least', () => {
    const { learn, knows } = prompts(3 * least);
    for (const tenant of ['a', 'b', 'c']) learn(tenant, 1);
    knows('a', 1);
    learn('d', 1);
    expect(['a', 'b', 'c', 'd'].map((tenant) => knows(tenant, 1))).toEqual([true, false, true, true]);
  });

  test('begin anew with vectors of another length', () => {
    const { all, learn, knows } = prompts(16 * least);
    for (let at = 0; at < 30; at += 1) learn('a', at);
    const vector = unit([1, 2]) ?? new Float32Array();
    all.add('a', { frame: 'g', key: 'k', vector, rowsMax: 1_000, untilMs: 100 }, 0);
    expect([all.size, all.bytes]).toEqual([1, Vectors.bytesMin(2, 1_000)]);
    expect(knows('a', 29)).toBe(false);
  });

  test('are none where there is no memory for one', () => {
    const { all, learn, knows } = prompts(least - 1);
    learn('a', 1);
    expect([all.size, all.bytes, knows('a', 1)]).toEqual([0, 0, false]);
  });

  test('never take more than they may, and are counted as they are', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('learn' as const), tenant: fc.nat(5), count: fc.nat(100) }),
      fc.record({ kind: fc.constant('forget' as const), tenant: fc.nat(5), count: fc.nat(100) }),
      fc.record({ kind: fc.constant('use' as const), tenant: fc.constant(0), count: fc.nat(20) }),
    );
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const { all, learn, knows } = prompts(10 * least);
        let bytesMax = 10 * least;
        let name = 0;
        for (const { kind, tenant, count } of steps) {
          if (kind === 'use') {
            bytesMax = count * least;
            all.use(bytesMax, name);
          }
          for (let at = 0; kind === 'learn' && at < count; at += 1) {
            name += 1;
            learn(`t${tenant}`, name, name + 500, name);
            if (bytesMax >= least && !knows(`t${tenant}`, name)) throw new Error('it is not known at once');
          }
          if (kind === 'forget') all.forget(`t${tenant}`, `k${Math.max(0, name - count)}`);
          if (all.bytes > bytesMax) throw new Error('more than it may');
          if (all.bytes === 0 && all.size > 0) throw new Error('not counted');
        }
        all.use(0, name);
        expect([all.bytes, all.size]).toEqual([0, 0]);
      }),
    );
  });
});
