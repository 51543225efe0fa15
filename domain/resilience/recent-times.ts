/** The last so many times to a first byte, and their 95th percentile: sorted anew only now and then. */
const size = 128;
const refresh = 32;
/** Before so many are known there is no percentile to speak of. */
const enough = 20;

export class RecentTimes {
  private readonly ring = new Float64Array(size);
  private count = 0;
  private sortedAt = 0;
  private p95 = Infinity;

  add(ms: number): void {
    this.ring[this.count % size] = ms;
    this.count += 1;
  }

  /** Infinity while too few are known. */
  percentile95(): number {
    if (this.count < enough) return Infinity;
    if (this.sortedAt === 0 || this.count - this.sortedAt >= refresh) {
      const known = this.ring.slice(0, Math.min(this.count, size)).sort();
      this.p95 = known[Math.ceil(known.length * 0.95) - 1] ?? Infinity;
      this.sortedAt = this.count;
    }
    return this.p95;
  }
}
