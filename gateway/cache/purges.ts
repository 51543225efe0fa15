import { BoundedMap } from '../bounded-map.ts';

/** When services were last purged, so that an answer that was under way then is not kept. */
export class Purges {
  private readonly atMs = new BoundedMap<number>(purgesMax);

  /** @param serviceId of the purged service */
  note(serviceId: string, nowMs: number): void {
    this.atMs.set(serviceId, nowMs);
  }

  /** True for a request that began before its service was purged. */
  isBefore(serviceId: string, startedAtMs: number): boolean {
    const at = this.atMs.get(serviceId);
    return at !== undefined && startedAtMs <= at;
  }
}

/** So many services are not purged while one request is under way. */
const purgesMax = 10_000;
