import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Alarm, CoarseTimer } from '../../../gateway/forward/coarse-timer.ts';

class Bell extends Alarm {
  rang: number[] = [];
  private readonly now: () => number;
  private readonly onRing: () => void;
  constructor(now: () => number, onRing: () => void = () => undefined) {
    super();
    this.now = now;
    this.onRing = onRing;
  }
  ring(): void {
    this.rang.push(this.now());
    this.onRing();
  }
}

describe('CoarseTimer', () => {
  const now = () => performance.now();
  let timer: CoarseTimer;
  beforeEach(() => {
    jest.useFakeTimers();
    timer = new CoarseTimer(now, 50, 8);
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('rings once, not before its time and no more than two ticks after it, also beyond its round', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 20 }),
        fc.integer({ min: 0, max: 99 }),
        (delays, offset) => {
          jest.advanceTimersByTime(offset);
          const bells = delays.map((delay) => {
            const bell = new Bell(now);
            timer.set(bell, delay);
            return { bell, due: now() + delay };
          });
          expect(timer.size).toBe(delays.length);
          jest.advanceTimersByTime(3200);
          for (const { bell, due } of bells) {
            expect(bell.rang).toHaveLength(1);
            expect(bell.rang[0]).toBeGreaterThanOrEqual(due);
            expect(bell.rang[0]).toBeLessThanOrEqual(due + 100);
          }
          expect(timer.size).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('one that is taken back, or set anew, does not ring at its old time', () => {
    const [gone, moved] = [new Bell(now), new Bell(now)];
    timer.set(gone, 100);
    timer.set(moved, 100);
    timer.cancel(gone);
    timer.cancel(gone);
    timer.set(moved, 1000);
    jest.advanceTimersByTime(500);
    expect([gone.rang, moved.rang]).toEqual([[], []]);
    jest.advanceTimersByTime(700);
    expect([gone.rang.length, moved.rang.length]).toEqual([0, 1]);
  });

  test('an alarm may take back its neighbour, and set itself again, while it rings', () => {
    const other = new Bell(now);
    const first: Bell = new Bell(now, () => {
      timer.cancel(other);
      if (first.rang.length === 1) timer.set(first, 100);
    });
    timer.set(first, 100);
    timer.set(other, 100);
    jest.advanceTimersByTime(600);
    expect([first.rang.length, other.rang.length]).toEqual([2, 0]);
  });

  test('nothing ticks while nothing is set', () => {
    const bell = new Bell(now);
    timer.set(bell, 100);
    timer.cancel(bell);
    jest.advanceTimersByTime(200);
    expect(jest.getTimerCount()).toBe(0);
    timer.set(bell, 100);
    jest.advanceTimersByTime(200);
    expect(bell.rang).toHaveLength(1);
  });
});
