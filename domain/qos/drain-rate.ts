/**
 * How fast a queue drains, for honest Retry-After: requests taken from it in each of the last ten seconds. A fixed
 * ring; an average with a horizon, so that an old rush does not promise what today's servers do not keep.
 */
const seconds = 10;

export class DrainRate {
  private readonly counts = new Float64Array(seconds);
  /** Second that the newest count belongs to; -1: none yet. */
  private latest = -1;
  private first = -1;

  add(nowMs: number): void {
    const at = this.advance(nowMs);
    this.counts[at] = (this.counts[at] ?? 0) + 1;
  }

  /** @returns requests a second; 0 when none was taken lately */
  perSecond(nowMs: number): number {
    if (this.latest < 0) return 0;
    this.advance(nowMs);
    let sum = 0;
    for (const count of this.counts) sum += count;
    return sum / Math.min(seconds, this.latest - this.first + 1);
  }

  private advance(nowMs: number): number {
    const second = Math.floor(nowMs / 1000);
    if (this.latest < 0 || second - this.latest >= seconds) {
      this.counts.fill(0);
      this.first = second;
    } else for (let s = this.latest + 1; s <= second; s += 1) this.counts[s % seconds] = 0;
    this.latest = Math.max(second, this.latest);
    return this.latest % seconds;
  }
}

const retryAfterMaxS = 60;

/**
 * When a refused request may come back: once those before it are through.
 * @param ahead requests of its tier and above that wait
 * @param perSecond how many leave the queue in a second; 0: nobody knows
 * @returns whole seconds, 1 to 60
 */
export function retryAfterS(ahead: number, perSecond: number): number {
  if (perSecond <= 0) return ahead === 0 ? 1 : retryAfterMaxS / 6;
  return Math.max(1, Math.min(retryAfterMaxS, Math.ceil(ahead / perSecond)));
}
