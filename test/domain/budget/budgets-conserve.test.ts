import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Gateways } from '../../fixtures/budget/gateways.ts';
import type { Act, Outcome } from '../../fixtures/budget/gateways.ts';

const gateway = fc.nat({ max: 4 });
const amount = fc.integer({ min: 1, max: 60 });
const anyOutcome = fc.constantFrom<Outcome>('answered', 'answered', 'answered', 'not-sent', 'answer-lost');
const answered = fc.constant<Outcome>('answered');

function acts(outcome: fc.Arbitrary<Outcome>, rest: fc.Arbitrary<Act>[]): fc.Arbitrary<Act[]> {
  const request = fc.record({
    kind: fc.constant('request' as const),
    gateway,
    reserved: amount,
    used: amount,
  });
  const finish = fc.record({ kind: fc.constant('finish' as const), gateway });
  const call = fc.record({
    kind: fc.constantFrom('ask' as const, 'ask' as const, 'give-back' as const, 'tell' as const),
    gateway,
    outcome,
  });
  return fc.array(fc.oneof(request, request, finish, finish, call, call, ...rest), { maxLength: 200 });
}

const crash = fc.record({ kind: fc.constant('crash' as const), gateway });
const settling = fc.constant<Act>({ kind: 'settle' });
const loss = fc.constant<Act>({ kind: 'lose-book' });
const limit = fc.integer({ min: 0, max: 1_500 });
const slice = fc.integer({ min: 1, max: 200 });
const count = fc.integer({ min: 1, max: 5 });

describe('budgets of several gateways', () => {
  test('are never exceeded but by answers that used more than was set aside', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(answered, []), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) {
          gateways.do(act);
          expect(gateways.granted).toBeLessThanOrEqual(max);
          expect(gateways.spent).toBeLessThanOrEqual(max + gateways.overdrawn);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('are exceeded by no more than what was in flight, when gateways are killed and the ledger settles', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(answered, [crash, settling]), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) {
          gateways.do(act);
          expect(gateways.spent).toBeLessThanOrEqual(max + gateways.overdrawn + gateways.lostInFlight);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('keep their bound when calls and answers are lost, gateways killed and the whole book forgotten', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(anyOutcome, [crash, settling, loss]), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) {
          gateways.do(act);
          const { overdrawn, lostInFlight, offline, forgotten } = gateways;
          expect(gateways.spent).toBeLessThanOrEqual(max + overdrawn + lostInFlight + offline + forgotten);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('hold to the token when the book is away for all, who all had heard the same', () => {
    const outage = acts(fc.constant<Outcome>('not-sent'), []);
    fc.assert(
      fc.property(count, limit, slice, acts(answered, []), outage, (n, max, part, before, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of before) gateways.do(act);
        for (let round = 0; round < 2; round += 1)
          for (let at = 0; at < n; at += 1) gateways.do({ kind: 'tell', gateway: at, outcome: 'answered' });
        for (const act of list) {
          gateways.do(act);
          expect(gateways.spent).toBeLessThanOrEqual(max + gateways.overdrawn);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('are known by the next report to be used, also beyond what was set aside', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(anyOutcome, []), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) gateways.do(act);
        // The first may be the repetition of an older call.
        for (let round = 0; round < 2; round += 1)
          for (let at = 0; at < n; at += 1) gateways.do({ kind: 'tell', gateway: at, outcome: 'answered' });
        expect(gateways.granted).toBeGreaterThanOrEqual(Math.min(max, gateways.spent));
      }),
      { numRuns: 500 },
    );
  });

  test('come down to the truth when all is given back and settled, whatever was lost or killed before', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(anyOutcome, [crash]), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) gateways.do(act);
        while (gateways.all.some(({ inFlight }) => inFlight.length > 0))
          for (let at = 0; at < n; at += 1) gateways.do({ kind: 'finish', gateway: at });
        for (let at = 0; at < n; at += 1) {
          // The first may be the repetition of an older call.
          gateways.do({ kind: 'give-back', gateway: at, outcome: 'answered' });
          gateways.do({ kind: 'give-back', gateway: at, outcome: 'answered' });
        }
        gateways.do({ kind: 'settle' });
        if (gateways.book !== null) expect(gateways.granted + gateways.debts).toBe(gateways.spent);
      }),
      { numRuns: 500 },
    );
  });

  test('settle to the same, however often', () => {
    fc.assert(
      fc.property(count, limit, slice, acts(anyOutcome, [crash, loss]), (n, max, part, list) => {
        const gateways = new Gateways(n, max, part);
        for (const act of list) gateways.do(act);
        gateways.do({ kind: 'settle' });
        const once = gateways.granted;
        gateways.do({ kind: 'settle' });
        expect(gateways.granted).toBe(once);
      }),
    );
  });
});
