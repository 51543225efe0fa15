import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Candidate } from '../../../domain/routing/pick.ts';
import { pick } from '../../../domain/routing/pick.ts';

const candidate = (address: string, inFlight = 0, skipUntilMs = 0, inFlightMax = Infinity): Candidate => ({
  address,
  revision: 'r',
  load: { inFlight, skipUntilMs, inFlightMax },
});
const full = (address: string, inFlight: number): Candidate => ({
  address,
  revision: 'r',
  load: { inFlight, skipUntilMs: 0, inFlightMax: Infinity, places: inFlight },
});
const state = { nowMs: 100, chance: () => 0, tried: [] as string[] };

describe('pick', () => {
  test.each([
    { name: 'the least loaded', ready: [candidate('a', 3), candidate('b', 1)], tried: [], wanted: 'b' },
    { name: 'not one that was tried', ready: [candidate('a'), candidate('b', 9)], tried: ['a'], wanted: 'b' },
    {
      name: 'not one that lately refused',
      ready: [candidate('a', 0, 200), candidate('b', 9)],
      tried: [],
      wanted: 'b',
    },
    {
      name: 'not a recovering one beyond its probes',
      ready: [candidate('a', 1, 0, 1), candidate('b', 9)],
      tried: [],
      wanted: 'b',
    },
    {
      name: 'a recovering one within its probes',
      ready: [candidate('a', 0, 0, 1), candidate('b', 9)],
      tried: [],
      wanted: 'a',
    },
    {
      name: 'an ejected one when all are',
      ready: [candidate('a', 5, 200), candidate('b', 4, 200)],
      tried: [],
      wanted: 'b',
    },
    {
      name: 'one with a place rather than one whose places are all taken',
      ready: [full('a', 1), candidate('b', 9)],
      tried: [],
      wanted: 'b',
    },
    {
      name: 'one whose places are all taken rather than an ejected one',
      ready: [candidate('a', 0, 200), full('b', 9)],
      tried: [],
      wanted: 'b',
    },
    {
      name: 'an ejected one rather than one that was tried, whose places are all taken',
      ready: [candidate('a', 0, 200), full('b', 9)],
      tried: ['b'],
      wanted: 'a',
    },
    {
      name: 'one that refused rather than one that was tried',
      ready: [candidate('a', 0, 200), candidate('b')],
      tried: ['b'],
      wanted: 'a',
    },
    { name: 'the only one, tried or not', ready: [candidate('a', 0, 200)], tried: ['a'], wanted: 'a' },
    { name: 'none of none', ready: [], tried: [], wanted: undefined },
  ])('takes $name', ({ ready, tried, wanted }) => {
    expect(pick([{ percent: 100, ready }], { ...state, tried })?.address).toBe(wanted);
  });

  test('a target without traffic gets none, and one without endpoints leaves its share to the others', () => {
    expect(pick([{ percent: 0, ready: [candidate('a')] }], state)).toBeNull();
    const targets = [
      { percent: 90, ready: [] },
      { percent: 10, ready: [candidate('b')] },
      { percent: 0, ready: [candidate('c')] },
    ];
    expect(pick(targets, { ...state, chance: () => 0.99 })?.address).toBe('b');
  });

  test('splits by percent: over all chances each target gets its share', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99 }), (percent) => {
        const targets = [
          { percent, ready: [candidate('a')] },
          { percent: 100 - percent, ready: [candidate('b')] },
        ];
        let a = 0;
        for (let i = 0; i < 100; i += 1)
          if (pick(targets, { ...state, chance: () => (i + 0.5) / 100 })?.address === 'a') a += 1;
        expect(a).toBe(percent);
      }),
    );
  });

  test('always takes someone ready of a target with traffic, if there is one', () => {
    const endpoint = fc.record({ inFlight: fc.nat(3), skip: fc.boolean(), tried: fc.boolean() });
    const target = fc.record({ percent: fc.nat(3), endpoints: fc.array(endpoint, { maxLength: 4 }) });
    fc.assert(
      fc.property(
        fc.array(target, { maxLength: 4 }),
        fc.float({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (all, chance) => {
          const tried: string[] = [];
          const targets = all.map(({ percent, endpoints }, t) => ({
            percent,
            ready: endpoints.map((e, i) => {
              const address = `${t}-${i}`;
              if (e.tried) tried.push(address);
              return candidate(address, e.inFlight, e.skip ? 200 : 0);
            }),
          }));
          const open = targets.filter((t) => t.percent > 0).flatMap((t) => t.ready);
          const taken = pick(targets, { nowMs: 100, chance: () => chance, tried });
          if (open.length === 0) expect(taken).toBeNull();
          else expect(open).toContain(taken);
          const untried = open.filter((c) => !tried.includes(c.address));
          if (untried.length > 0) expect(untried).toContain(taken);
        },
      ),
    );
  });
});
