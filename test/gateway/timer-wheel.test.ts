import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Timed, TimerWheel } from '../../gateway/timer-wheel.ts';

const granuleMs = 32;

class Alarm extends Timed {
  readonly rang: number[] = [];
  private readonly now: () => number;
  private readonly then: () => void;
  constructor(now: () => number, then: () => void = () => undefined) {
    super();
    this.now = now;
    this.then = then;
  }
  onTimeout(): void {
    this.rang.push(this.now());
    this.then();
  }
}

/** A wheel on a clock of the test's. */
function setUp(doPausesCount = false) {
  let nowMs = 1_000;
  const wheel = new TimerWheel(() => nowMs, { granuleMs, doPausesCount });
  const pass = (ms: number) => {
    for (const end = nowMs + ms; nowMs < end;) {
      nowMs = Math.min(end, nowMs + granuleMs);
      wheel.turn();
    }
  };
  return {
    wheel,
    pass,
    jump: (ms: number) => {
      nowMs += ms;
      wheel.turn();
    },
    /** Time passes, and the wheel has not turned yet. */
    wait: (ms: number) => {
      nowMs += ms;
    },
    alarm: (then?: () => void) => new Alarm(() => nowMs, then),
    now: () => nowMs,
  };
}

describe('the timer wheel', () => {
  test('rings never early, at most two granules late (long limits: nine), once, also beyond its own length', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 60_000 }), { minLength: 1, maxLength: 20 }),
        (limits) => {
          const { wheel, pass, alarm, now } = setUp();
          const began = now();
          const alarms = limits.map((ms) => {
            const made = alarm();
            wheel.arm(made, ms);
            return { made, ms };
          });
          pass(61_000);
          for (const { made, ms } of alarms) {
            expect(made.rang).toHaveLength(1);
            expect(made.rang[0]! - began).toBeGreaterThanOrEqual(ms);
            expect(made.rang[0]! - began).toBeLessThanOrEqual(ms + (ms < 1_000 ? 2 : 9) * granuleMs);
          }
          expect(wheel.size).toBe(0);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('the last word counts: armed anew, sooner or later, disarmed or removed', () => {
    const what = fc.oneof(
      fc.integer({ min: 0, max: 40_000 }),
      fc.constant('disarm' as const),
      fc.constant('remove' as const),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(what, fc.integer({ min: 0, max: 3_000 })), { minLength: 1, maxLength: 30 }),
        (steps) => {
          const { wheel, pass, alarm, now } = setUp();
          const one = alarm();
          let dueMs = Infinity;
          for (const [step, waitMs] of steps) {
            if (step === 'disarm') wheel.disarm(one);
            else if (step === 'remove') wheel.remove(one);
            else wheel.arm(one, step);
            dueMs = typeof step === 'number' ? now() + step : Infinity;
            one.rang.length = 0;
            pass(waitMs);
            if (now() < dueMs) expect(one.rang).toEqual([]);
          }
          pass(50_000);
          expect(one.rang).toHaveLength(dueMs === Infinity ? 0 : 1);
          expect(wheel.size).toBe(0);
        },
      ),
    );
  });

  test('a pause of this process is not counted against anybody', () => {
    const { wheel, pass, jump, alarm } = setUp();
    const one = alarm();
    wheel.arm(one, 1_000);
    jump(60_000);
    expect(one.rang).toEqual([]);
    pass(1_100);
    expect(one.rang).toHaveLength(1);
  });

  test('nor against a short limit: a pause of 0.3 s ends none of 200 ms', () => {
    const { wheel, pass, jump, alarm, now } = setUp();
    const one = alarm();
    const began = now();
    wheel.arm(one, 200);
    jump(300);
    expect(one.rang).toEqual([]);
    pass(200);
    expect(one.rang[0]! - began).toBeGreaterThan(300);
  });

  test('a pause counts where callers wait, however long it was', () => {
    const { wheel, pass, jump, alarm, now } = setUp(true);
    const [soon, late] = [alarm(), alarm()];
    const began = now();
    wheel.arm(soon, 1_000);
    wheel.arm(late, 90_000);
    jump(60_000);
    expect([soon.rang.length, late.rang.length]).toEqual([1, 0]);
    pass(31_000);
    expect(late.rang).toHaveLength(1);
    expect(late.rang[0]! - began).toBeGreaterThanOrEqual(90_000);
    expect(late.rang[0]! - began).toBeLessThanOrEqual(90_000 + 6 * granuleMs);
  });

  test('nothing ticks while nothing is armed', () => {
    jest.useFakeTimers();
    try {
      const wheel = new TimerWheel(() => performance.now());
      const one = new Alarm(() => performance.now());
      wheel.arm(one, 100);
      wheel.remove(one);
      jest.advanceTimersByTime(200);
      expect(jest.getTimerCount()).toBe(0);
      wheel.arm(one, 100);
      jest.advanceTimersByTime(200);
      expect(one.rang).toHaveLength(1);
    } finally {
      jest.useRealTimers();
    }
  });

  describe('by its own interval', () => {
    beforeEach(() => {
      jest.useFakeTimers();
    });
    afterEach(() => {
      jest.useRealTimers();
    });

    /** How often the interval fires in the next second. */
    const firesInASecond = () => {
      let count = 0;
      for (let ms = 0; ms < 1_000; ms += 1) {
        const before = jest.getTimerCount();
        const next = jest.now();
        jest.advanceTimersByTime(1);
        expect(jest.now()).toBe(next + 1);
        expect(jest.getTimerCount()).toBe(before);
        count += fires;
        fires = 0;
      }
      return count;
    };
    let fires = 0;
    const countingWheel = () =>
      new TimerWheel(() => {
        fires += 1; // read once a turn, and once for each short limit
        return performance.now();
      });

    test('it wakes the process eight times a second for long limits, and more often only while a short one runs', () => {
      const wheel = countingWheel();
      const [long, short] = [new Alarm(() => performance.now()), new Alarm(() => performance.now())];
      wheel.arm(long, 30_000);
      fires = 0;
      expect(firesInASecond()).toBeLessThanOrEqual(8);
      const began = performance.now();
      wheel.arm(short, 900);
      fires = 0;
      expect(firesInASecond()).toBeGreaterThanOrEqual(28);
      expect(short.rang).toHaveLength(1);
      expect(short.rang[0]! - began).toBeGreaterThanOrEqual(900);
      expect(short.rang[0]! - began).toBeLessThanOrEqual(900 + 2 * granuleMs);
      expect(firesInASecond()).toBeLessThanOrEqual(10);
      wheel.remove(long);
      jest.advanceTimersByTime(200);
      expect(jest.getTimerCount()).toBe(0);
    });

    test('limits of any length, begun at any time, end neither early nor much too late', () => {
      const step = fc.record({
        ms: fc.oneof(fc.integer({ min: 0, max: 999 }), fc.integer({ min: 1_000, max: 20_000 })),
        waitMs: fc.integer({ min: 0, max: 700 }),
      });
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
          const wheel = countingWheel();
          const armed = steps.map(({ ms, waitMs }) => {
            const alarm = new Alarm(() => performance.now());
            const began = performance.now();
            wheel.arm(alarm, ms);
            jest.advanceTimersByTime(waitMs);
            return { alarm, began, ms };
          });
          jest.advanceTimersByTime(22_000);
          for (const { alarm, began, ms } of armed) {
            expect(alarm.rang).toHaveLength(1);
            const tookMs = alarm.rang[0]! - began;
            expect(tookMs).toBeGreaterThanOrEqual(ms);
            expect(tookMs).toBeLessThanOrEqual(ms + (ms < 1_000 ? 3 : 14) * granuleMs);
          }
          expect(jest.getTimerCount()).toBe(0);
        }),
        { numRuns: 40 },
      );
    });
  });

  test('a limit that begins behind a pause ends no sooner for it', () => {
    const { wheel, pass, alarm, now, wait } = setUp(true);
    wheel.arm(alarm(), 60_000);
    wait(600); // one long piece of work, which then begins
    const one = alarm();
    const began = now();
    wheel.arm(one, 1_000);
    pass(2_000);
    expect(one.rang[0]! - began).toBeGreaterThanOrEqual(1_000);
    expect(one.rang[0]! - began).toBeLessThanOrEqual(1_000 + 3 * granuleMs);
  });

  test('late turns of a busy process do not make limits longer', () => {
    const { wheel, jump, alarm, now } = setUp();
    const one = alarm();
    const began = now();
    wheel.arm(one, 30_000);
    for (let turn = 0; turn < 140; turn += 1) jump(230); // each is nearly twice as late as planned
    expect(one.rang[0]! - began).toBeLessThanOrEqual(30_000 + 14 * granuleMs);
  });

  test('who rings may arm itself, with what is left of its turn, and never rings early for it', () => {
    const { wheel, jump, pass, alarm, now } = setUp(true);
    const rang: number[] = [];
    const again = alarm(() => {
      rang.push(now());
      if (rang.length < 2) wheel.arm(again, 500);
    });
    wheel.arm(again, 100);
    jump(3_000); // rings in the midst of a turn of 93 granules
    pass(490);
    expect(rang).toHaveLength(1);
    pass(100);
    expect(rang).toHaveLength(2);
  });

  test('who rings may arm itself and remove others that ring in the same turn', () => {
    const { wheel, pass, alarm } = setUp();
    const others: Alarm[] = [
      alarm(() => {
        wheel.remove(others[1]!);
      }),
      alarm(() => {
        wheel.remove(others[0]!);
      }),
    ];
    const again = alarm(() => {
      if (again.rang.length < 3) wheel.arm(again, 100);
    });
    for (const each of [...others, again]) wheel.arm(each, 100);
    pass(1_000);
    expect(others[0]!.rang.length + others[1]!.rang.length).toBe(1);
    expect(again.rang).toHaveLength(3);
    expect(wheel.size).toBe(0);
  });
});
