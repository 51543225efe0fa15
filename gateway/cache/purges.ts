/**
 * When services were last purged, so that an answer that was under way then is not kept. Bounded: purges older than
 * any request could be are forgotten.
 */
export class Purges {
  private readonly atMs = new Map<string, number>();

  /** @param serviceId of the purged service */
  note(serviceId: string, nowMs: number): void {
    this.atMs.delete(serviceId);
    this.atMs.set(serviceId, nowMs);
    if (this.atMs.size > purgesMax) {
      const [oldest] = this.atMs.keys();
      if (oldest !== undefined) this.atMs.delete(oldest);
    }
  }

  /** True for a request that began before its service was purged. */
  isBefore(serviceId: string, startedAtMs: number): boolean {
    const at = this.atMs.get(serviceId);
    return at !== undefined && startedAtMs <= at;
  }
}

const purgesMax = 10_000;
