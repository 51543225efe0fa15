/**
 * A bucket that holds a minute's worth and fills evenly. It may go below zero: what was set aside too small is paid by
 * those who come later. A request larger than the whole bucket passes when it is full, else it never would.
 */
export class TokenBucket {
  /** A minute's worth. */
  readonly perMinute: number;
  private level: number;
  private atMs: number;
  private parts = 1;

  constructor(perMinute: number, nowMs: number) {
    this.perMinute = perMinute;
    this.level = perMinute;
    this.atMs = nowMs;
  }

  /** This gateway's part of the limit. */
  get capacity(): number {
    return this.perMinute / this.parts;
  }

  /** @param parts gateways that share the limit */
  fill(nowMs: number, parts: number): void {
    this.parts = parts;
    const grown = (Math.max(0, nowMs - this.atMs) * this.capacity) / 60_000;
    this.level = Math.min(this.capacity, this.level + grown);
    this.atMs = nowMs;
  }

  /** After `fill`. */
  has(amount: number): boolean {
    return this.level >= Math.min(amount, this.capacity);
  }

  /** @param amount below zero: given back */
  take(amount: number): void {
    this.level -= amount;
  }

  /** Whole units, for people. */
  get remaining(): number {
    return Math.max(0, Math.floor(this.level));
  }

  /** Until `has(amount)`. */
  waitMs(amount: number): number {
    return Math.max(0, ((Math.min(amount, this.capacity) - this.level) * 60_000) / this.capacity);
  }

  get fullInMs(): number {
    return this.waitMs(this.capacity);
  }
}

/** OpenAI's way to write a time: `120ms`, `1.5s`, `6m0s`. */
export function formatReset(ms: number): string {
  const whole = Math.ceil(ms);
  if (whole < 1_000) return `${whole}ms`;
  if (whole < 60_000) return `${whole / 1_000}s`;
  const seconds = Math.ceil(whole / 1_000);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
