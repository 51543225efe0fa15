import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { windowOf } from '../../../domain/budget/period.ts';

const at = (text: string): number => Date.parse(text);

describe('windowOf', () => {
  test.each([
    ['hour', '2026-11-24T13:59:59.999Z', '2026-11-24T13', '2026-11-24T14:00:00Z'],
    ['day', '2026-12-31T23:59:59.999Z', '2026-12-31', '2027-01-01T00:00:00Z'],
    ['week', '2026-11-29T23:00:00Z', '2026-11-23w', '2026-11-30T00:00:00Z'],
    ['week', '2026-11-30T00:00:00Z', '2026-11-30w', '2026-12-07T00:00:00Z'],
    ['month', '2028-02-29T12:00:00Z', '2028-02', '2028-03-01T00:00:00Z'],
    ['month', '2026-12-01T00:00:00Z', '2026-12', '2027-01-01T00:00:00Z'],
  ] as const)('puts a moment into its %s', (period, now, key, end) => {
    expect(windowOf(period, at(now))).toMatchObject({ key, endMs: at(end) });
  });

  test('has one window for all time', () => {
    expect(windowOf('total', 0)).toEqual({ key: 'total', startMs: -Infinity, endMs: Infinity });
  });

  test('gives windows that follow one another without a gap', () => {
    const period = fc.constantFrom('hour' as const, 'day' as const, 'week' as const, 'month' as const);
    fc.assert(
      fc.property(period, fc.integer({ min: 0, max: at('2100-01-01') }), (unit, now) => {
        const window = windowOf(unit, now);
        expect(window.endMs).toBeGreaterThan(now);
        expect(windowOf(unit, window.endMs - 1)).toEqual(window);
        expect(windowOf(unit, window.endMs).key).not.toBe(window.key);
        expect(windowOf(unit, window.endMs).startMs).toBe(window.endMs);
        expect(windowOf(unit, window.startMs)).toEqual(window);
      }),
    );
  });
});
