/**
 * Times of requests, kept by one interval for all of them: deadlines and stalls are seconds to minutes long and
 * almost never come, so that setting and taking one back must cost nothing (a node timer each costs 0.3 us and an
 * object). An alarm rings up to one tick late, never early.
 */
export abstract class Alarm {
  /** Same clock as the timer's; Infinity: not set. */
  dueMs = Infinity;
  before: Alarm | null = null;
  after: Alarm | null = null;

  abstract ring(): void;
}

class Head extends Alarm {
  ring(): void {
    // a list's own end
  }
}

export class CoarseTimer {
  private readonly nowMs: () => number;
  private readonly tickMs: number;
  /** One list a slot; an alarm further away than all slots waits for its round. */
  private readonly slots: Alarm[];
  private at = 0;
  private count = 0;
  private ticking: NodeJS.Timeout | null = null;

  constructor(nowMs: () => number, tickMs = 50, slots = 256) {
    this.nowMs = nowMs;
    this.tickMs = tickMs;
    this.slots = Array.from({ length: slots }, () => {
      const head = new Head();
      head.before = head;
      head.after = head;
      return head;
    });
  }

  /** Alarms that are set. */
  get size(): number {
    return this.count;
  }

  /** Sets an alarm that is not set, or sets it anew. */
  set(alarm: Alarm, delayMs: number): void {
    if (alarm.dueMs !== Infinity) this.cancel(alarm);
    const now = this.nowMs();
    if (this.count === 0) this.start(now);
    alarm.dueMs = now + delayMs;
    this.count += 1;
    this.insert(alarm);
  }

  cancel(alarm: Alarm): void {
    if (alarm.dueMs === Infinity) return;
    this.remove(alarm);
    alarm.dueMs = Infinity;
    this.count -= 1;
  }

  private insert(alarm: Alarm): void {
    const tick = Math.max(this.at + 1, Math.ceil(alarm.dueMs / this.tickMs));
    const head = this.slots[tick % this.slots.length];
    if (head === undefined) return;
    alarm.before = head.before;
    alarm.after = head;
    if (head.before !== null) head.before.after = alarm;
    head.before = alarm;
  }

  private remove(alarm: Alarm): void {
    if (alarm.before !== null) alarm.before.after = alarm.after;
    if (alarm.after !== null) alarm.after.before = alarm.before;
    alarm.before = null;
    alarm.after = null;
  }

  private start(now: number): void {
    if (this.ticking !== null) return;
    this.at = Math.floor(now / this.tickMs);
    this.ticking = setInterval(() => {
      this.tick();
    }, this.tickMs);
    this.ticking.unref();
  }

  private tick(): void {
    if (this.count === 0 && this.ticking !== null) {
      clearInterval(this.ticking);
      this.ticking = null;
      return;
    }
    const now = this.nowMs();
    const until = Math.floor(now / this.tickMs);
    // A process that was stopped for long looks at each slot once, not at each tick that it missed.
    if (until - this.at > this.slots.length) this.at = until - this.slots.length;
    while (this.at < until) {
      this.at += 1;
      this.ringSlot(now);
    }
  }

  private ringSlot(now: number): void {
    const head = this.slots[this.at % this.slots.length];
    if (head === undefined) return;
    const due: Alarm[] = [];
    for (let alarm = head.after; alarm !== null && alarm !== head; alarm = alarm.after) {
      if (alarm.dueMs <= now) due.push(alarm);
    }
    for (const alarm of due) {
      if (alarm.dueMs > now) continue; // taken back, or set anew, by one that rang before it
      this.cancel(alarm);
      alarm.ring();
    }
  }
}
