import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { backendToWake, chooseBackends, isSpilled } from '../../../domain/model-route/choose.ts';
import type { BackendState } from '../../../domain/model-route/choose.ts';
import { rankBackends } from '../../../domain/model-route/class-order.ts';
import { backendRoles, ModelRoute } from '../../../domain/model-route/model-route-policy.schema.ts';
import { tiers } from '../../../domain/qos/tier.ts';
import type { Tier } from '../../../domain/qos/tier.ts';

const a100 = { service: 'llm/a100', class: 'a100', pricePerHour: 3, speed: 10 };
const l40 = { service: 'llm/l40', class: 'l40', pricePerHour: 1.5, speed: 6 };
const cpu = { service: 'llm/cpu', class: 'cpu', pricePerHour: 0.3, speed: 0.5 };

const idle: BackendState = { isReady: true, isAsleep: false, load: 0, isSpilled: false };
const full: BackendState = { isReady: true, isAsleep: false, load: 1, isSpilled: true };
const down: BackendState = { isReady: false, isAsleep: false, load: 0, isSpilled: false };

function order(route: unknown, tier: Tier, states: Record<string, BackendState | null> = {}): string[] {
  const parsed = ModelRoute.parse(route);
  const stateOf = (index: number) => {
    const name = parsed.backends[index]?.service.slice('llm/'.length) ?? '';
    return name in states ? (states[name] ?? null) : idle;
  };
  return chooseBackends(rankBackends(parsed, tier), stateOf).map(({ backend }) => backend.service.slice(4));
}

describe('which backend answers', () => {
  const route = { backends: [cpu, a100, l40] };

  test.each<[Tier, string]>([
    ['critical', 'a100 l40 cpu'],
    ['high', 'a100 l40 cpu'],
    ['standard', 'l40 a100 cpu'],
    ['best-effort', 'cpu l40 a100'],
  ])('tier %s without a rule: fastest, best for its price, or cheapest first', (tier, expected) => {
    expect(order(route, tier).join(' ')).toBe(expected);
  });

  const ruled = { ...route, tiers: { critical: ['l40'], 'best-effort': ['cpu', 'l40'] } };
  test.each<[string, Tier, Record<string, BackendState | null>, string]>([
    ['the classes of the rule and no others', 'critical', {}, 'l40'],
    ['the next class when the first is full', 'best-effort', { cpu: full }, 'l40 cpu'],
    ['never a class that is not ready when another is', 'best-effort', { cpu: down }, 'l40'],
    ['a full one rather than one that is not ready', 'best-effort', { cpu: full, l40: down }, 'cpu'],
    ['the first, to wake it, when none is ready', 'best-effort', { cpu: down, l40: down }, 'cpu'],
    ['nothing that is not there', 'best-effort', { cpu: null }, 'l40'],
    ['nothing when nothing is there', 'critical', { l40: null }, ''],
    ['the least loaded when all are full', 'critical', { l40: { ...full, load: 3 } }, 'l40'],
    [
      'the least loaded of all when all are full',
      'high',
      { a100: { ...full, load: 2 }, l40: full, cpu: full },
      'l40 cpu a100',
    ],
  ])('%s', (_name, tier, states, expected) => {
    expect(order(ruled, tier, states).join(' ')).toBe(expected);
  });

  test('roles order the services of a class, and a fallback comes after all classes', () => {
    const backends = [
      { ...a100, service: 'llm/spare', role: 'fallback' },
      { ...a100, service: 'llm/second', role: 'secondary' },
      { ...a100, service: 'llm/first' },
      cpu,
    ];
    expect(order({ backends }, 'critical').join(' ')).toBe('first second cpu spare');
    expect(order({ backends }, 'critical', { first: full }).join(' ')).toBe('second cpu spare first');
  });

  test('services of one class and role share by load', () => {
    const backends = [
      { ...a100, service: 'llm/one' },
      { ...a100, service: 'llm/two' },
    ];
    expect(order({ backends }, 'high', { one: { ...idle, load: 0.5 } })[0]).toBe('two');
  });
});

describe('which sleeping backend is woken while another answers', () => {
  const asleep: BackendState = { ...down, isAsleep: true };
  const route = ModelRoute.parse({ backends: [a100, l40, cpu] });
  test.each<[string, Tier, BackendState[], string | null]>([
    ['none while the best is ready', 'critical', [idle, asleep, asleep], null],
    ['the best, while another answers', 'critical', [asleep, idle, idle], 'a100'],
    ['the next, when the best is full', 'critical', [full, asleep, idle], 'l40'],
    ['none for a tier that wants the cheap one', 'best-effort', [asleep, asleep, idle], null],
    ['none that is loading already', 'critical', [down, idle, idle], null],
    ['nothing when all is full and awake', 'critical', [full, full, full], null],
  ])('%s', (_name, tier, states, expected) => {
    const found = backendToWake(rankBackends(route, tier), (index) => states[index] ?? null);
    expect(found?.backend.class ?? null).toBe(expected);
  });
});

describe('spilling to the next class', () => {
  test('begins at the mark and ends only well below it', () => {
    let was = false;
    const seen = [0.5, 0.89, 0.9, 0.8, 0.73, 0.72, 0.89].map(
      (load) => (was = isSpilled(was, load, 0.9, 0.72)),
    );
    expect(seen).toEqual([false, false, true, true, true, false, false]);
  });

  test.each([
    ['a class that no backend has', { backends: [cpu], tiers: { high: ['gpu'] } }, 'tiers.high.0'],
    ['a service given twice', { backends: [cpu, cpu] }, 'backends.1.service'],
    ['no way back', { backends: [cpu], spillAt: 0.5, returnAt: 0.6 }, 'returnAt'],
    ['a service without a namespace', { backends: [{ ...cpu, service: 'cpu' }] }, 'backends.0.service'],
    ['no backend', { backends: [] }, 'backends'],
    ['an unknown tier', { backends: [cpu], tiers: { premium: ['cpu'] } }, 'tiers'],
  ])('the policy is refused for %s', (_name, route, path) => {
    expect(ModelRoute.safeParse(route).error?.issues[0]?.path.join('.')).toBe(path);
  });
});

const classes = ['x', 'y', 'z'] as const;
const someRoute = fc
  .array(
    fc.record({
      class: fc.constantFrom(...classes),
      pricePerHour: fc.integer({ min: 0, max: 5 }),
      speed: fc.integer({ min: 1, max: 5 }),
      role: fc.constantFrom(...backendRoles),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((backends) =>
    ModelRoute.parse({ backends: backends.map((one, at) => ({ ...one, service: `llm/${at}` })) }),
  );
const someStates = fc.array(
  fc.record({ isReady: fc.boolean(), load: fc.float({ min: 0, max: 2, noNaN: true }), was: fc.boolean() }),
  { minLength: 6, maxLength: 6 },
);

describe('for any backends in any state', () => {
  test('what is not ready is never asked while another is, and what is full never while another has room', () => {
    fc.assert(
      fc.property(someRoute, fc.constantFrom(...tiers), someStates, (route, tier, raw) => {
        const states = raw.map(({ isReady, load, was }) => ({
          isReady,
          isAsleep: false,
          load,
          isSpilled: isSpilled(was, load, 0.9, 0.7),
        }));
        const chosen = chooseBackends(rankBackends(route, tier), (at) => states[at] ?? null);
        const used = states.slice(0, route.backends.length);
        const first = states[chosen[0]?.index ?? -1];
        expect(chosen).not.toHaveLength(0);
        if (used.some(({ isReady }) => isReady)) {
          expect(chosen.every(({ index }) => states[index]?.isReady)).toBe(true);
          expect(chosen).toHaveLength(used.filter(({ isReady }) => isReady).length);
        }
        if (used.some(({ isReady, isSpilled: over }) => isReady && !over))
          expect(first?.isSpilled).toBe(false);
      }),
    );
  });

  test('more load never makes a backend more wanted', () => {
    fc.assert(
      fc.property(
        someRoute,
        fc.constantFrom(...tiers),
        someStates,
        fc.nat(),
        fc.float({ min: 0, max: 2, noNaN: true }),
        (route, tier, raw, pick, more) => {
          const at = pick % route.backends.length;
          const place = (extra: number) => {
            const chosen = chooseBackends(rankBackends(route, tier), (index) => {
              const { isReady, load: base, was } = raw[index] ?? { isReady: false, load: 0, was: false };
              const load = index === at ? base + extra : base;
              return { isReady, isAsleep: false, load, isSpilled: isSpilled(was, load, 0.9, 0.7) };
            });
            return chosen.findIndex(({ index }) => index === at);
          };
          expect(place(more)).toBeGreaterThanOrEqual(place(0));
        },
      ),
    );
  });
});
