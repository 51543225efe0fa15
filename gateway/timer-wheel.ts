/**
 * One coarse timer for many time limits that almost never end, in place of a timer each. An entry sits in one slot of
 * a ring; a later deadline is only written down (one store a request, or a chunk) and found when its slot comes round,
 * an earlier one moves it. Limits end between their time and three granules after it; none ends early.
 *
 * While all limits are long ones the wheel turns by four granules, and they end up to 14 after their time: a process
 * is woken 8 times a second for it, not 31, and each wake costs more than the turn itself (gateway/README.md).
 */
export interface WheelOptions {
  readonly granuleMs?: number;
  /**
   * False: while this process itself stands still its time does not count, since a server is not to be blamed for our
   * pause. True: it does, since a caller waits all the same.
   */
  readonly doPausesCount?: boolean;
}

/** In the place of a tick. No Infinity: V8 would keep the field as a double, in memory of its own, and touch it each time. */
const never = -1;

export class TimerWheel {
  private readonly slots: (Timed | null)[] = new Array<Timed | null>(slotCount).fill(null);
  private tick = 0;
  private entries = 0;
  private lastMs = 0;
  private interval: NodeJS.Timeout | undefined;
  /** Granules from one turn to the next. */
  private stride = coarseStride;
  /** While it turns: what this turn has still to pass. */
  private behind = 0;
  /** Until then a short limit may end. */
  private fineUntil = 0;
  private readonly granuleMs: number;
  private readonly doPausesCount: boolean;
  private readonly nowMs: () => number;

  constructor(nowMs: () => number, { granuleMs = 32, doPausesCount = false }: WheelOptions = {}) {
    this.nowMs = nowMs;
    this.granuleMs = granuleMs;
    this.doPausesCount = doPausesCount;
  }

  /** `timed.onTimeout()` will be called in `ms`, unless it is armed anew or disarmed before. */
  arm(timed: Timed, ms: number): void {
    const granules = Math.ceil(ms / this.granuleMs);
    const due = this.tick + granules + (ms < longMs ? this.refine(granules) : this.longLate());
    timed.due = due;
    if (timed.slot >= 0) {
      if (due >= timed.slotTick) return;
      this.unlink(timed);
    }
    this.link(timed);
  }

  /** Of a time limit that goes on: what is left of it, by the wheel's own clock and to eight granules. */
  leftMs({ due }: Timed): number {
    return (due - this.tick - unpausedTurnsMax) * this.granuleMs;
  }

  /** Cheap: the entry is swept when its slot comes round. */
  disarm(timed: Timed): void {
    timed.due = never;
  }

  /** Takes the entry out at once: its owner is gone. */
  remove(timed: Timed): void {
    timed.due = never;
    if (timed.slot >= 0) this.unlink(timed);
  }

  /** Entries in the ring. */
  get size(): number {
    return this.entries;
  }

  /** Called by the interval; by hand in tests. */
  turn(): void {
    const now = this.nowMs();
    const elapsed = Math.floor((now - this.lastMs) / this.granuleMs);
    if (elapsed <= 0) return;
    const passed = Math.min(this.turnsMax, elapsed);
    // What is left of a granule counts next time; a pause of ours does not.
    this.lastMs = passed < elapsed ? now : this.lastMs + passed * this.granuleMs;
    for (this.behind = passed - 1; this.behind >= 0; this.behind -= 1) this.step();
    this.behind = 0;
    if (this.entries === 0) this.rest();
    else if (this.stride < coarseStride && this.tick > this.fineUntil) this.begin(coarseStride);
  }

  /**
   * A short limit begins: the wheel turns by single granules until it has ended.
   * @returns the granules that it needs beside its own: the wheel's time is as old as its last turn
   */
  private refine(granules: number): number {
    if (this.stride > 1) {
      if (this.interval === undefined) this.stride = 1;
      else this.begin(1);
    }
    const late = this.late();
    this.fineUntil = Math.max(this.fineUntil, this.tick + granules + late);
    return late;
  }

  /** How many granules may pass at once. */
  private get turnsMax(): number {
    if (this.doPausesCount) return Infinity;
    return this.stride === 1 ? fineTurnsMax : unpausedTurnsMax;
  }

  /** By how many granules the wheel's time is old at most: without a clock where the next turn has its bound. */
  private longLate(): number {
    return this.doPausesCount ? this.late() : unpausedTurnsMax + this.behind;
  }

  private late(): number {
    const sinceMs = this.interval === undefined ? 0 : this.nowMs() - this.lastMs;
    return 1 + this.behind + Math.min(this.turnsMax, Math.floor(sinceMs / this.granuleMs));
  }

  private begin(stride: number): void {
    clearInterval(this.interval);
    this.stride = stride;
    this.interval = setInterval(() => {
      this.turn();
    }, stride * this.granuleMs).unref();
  }

  private rest(): void {
    clearInterval(this.interval);
    this.interval = undefined;
    this.stride = coarseStride;
  }

  private step(): void {
    this.tick += 1;
    const slot = this.tick % slotCount;
    let timed = this.slots[slot] ?? null;
    this.slots[slot] = null;
    // The whole chain is taken out first: a callback may arm and remove entries as it likes.
    const chain: Timed[] = [];
    for (; timed !== null; timed = timed.next) chain.push(timed);
    for (const entry of chain) {
      entry.slot = -1;
      entry.next = null;
      entry.previous = null;
      this.entries -= 1;
    }
    for (const entry of chain) {
      if (entry.slot >= 0 || entry.due === never) continue;
      if (entry.due > this.tick) this.link(entry);
      else {
        entry.due = never;
        entry.onTimeout();
      }
    }
  }

  private link(timed: Timed): void {
    if (this.interval === undefined) {
      this.lastMs = this.nowMs();
      this.begin(this.stride);
    }
    const at = Math.min(timed.due, this.tick + slotCount - 1);
    const slot = at % slotCount;
    const first = this.slots[slot] ?? null;
    timed.slot = slot;
    timed.slotTick = at;
    timed.previous = null;
    timed.next = first;
    if (first !== null) first.previous = timed;
    this.slots[slot] = timed;
    this.entries += 1;
  }

  private unlink(timed: Timed): void {
    if (timed.previous === null) this.slots[timed.slot] = timed.next;
    else timed.previous.next = timed.next;
    if (timed.next !== null) timed.next.previous = timed.previous;
    timed.slot = -1;
    timed.next = null;
    timed.previous = null;
    this.entries -= 1;
  }
}

/** Something with a time limit; the fields are the wheel's. */
export abstract class Timed {
  due = never;
  slot = -1;
  slotTick = 0;
  next: Timed | null = null;
  previous: Timed | null = null;
  abstract onTimeout(): void;
}

/** With 32 ms granules the ring is 16 s long; later deadlines go round. */
const slotCount = 512;
const coarseStride = 4;
/** Where pauses do not count: at most so many granules pass at once, however long this process stood still. Twice a turn: one may be late. */
const unpausedTurnsMax = 2 * coarseStride;
/** The same while short limits run, which a pause must not end. One turn of the others, put off by a granule, is no pause. */
const fineTurnsMax = coarseStride + 1;
/** Limits from here on may end later. */
const longMs = 1_000;
