import { tierRank } from '../../domain/qos/tier.ts';
import { Flight } from './lookup.ts';
import type { Lookup } from './lookup.ts';

/**
 * Requests for the same answer at the same time: the first asks, the others wait. A flight ends with its answer, or
 * when so many have asked in vain that waiting makes no sense. Bounded by the requests that wait for each and by the
 * time that each waits; the flights themselves by the requests in flight.
 */
export class Flights {
  waiting = 0;
  private readonly byKey = new Map<string, Flight>();

  get size(): number {
    return this.byKey.size;
  }

  /**
   * The flight whose answer this request may wait for. Not one whose leader is of a lower tier: it may stand in a
   * queue that this request would pass.
   */
  find(lookup: Lookup, waitersMax: number): Flight | null {
    const flight = this.byKey.get(lookup.key.local);
    if (flight === undefined || flight.waiters.size >= waitersMax) return null;
    return tierRank(flight.leader.tier) <= tierRank(lookup.tier) ? flight : null;
  }

  /** Later requests for the same answer wait for this one from now on. */
  open(lookup: Lookup): void {
    const flight = new Flight(lookup);
    lookup.flight = flight;
    this.byKey.set(flight.key, flight);
  }

  join(flight: Flight, lookup: Lookup, waitMs: number, late: (lookup: Lookup) => void): void {
    flight.waiters.add(lookup);
    lookup.flight = flight;
    this.waiting += 1;
    lookup.timer = setTimeout(late, waitMs, lookup);
  }

  /** A waiter waits no longer. @returns its flight, or null when it did not wait */
  leave(lookup: Lookup): Flight | null {
    const { flight } = lookup;
    if (flight?.waiters.delete(lookup) !== true) return null;
    clearTimeout(lookup.timer);
    lookup.flight = null;
    this.waiting -= 1;
    return flight;
  }

  /**
   * The first of the most urgent waiters asks in its leader's place: no waiter then depends on one of a lower tier.
   *
   * @returns null when nobody waits
   */
  promote(flight: Flight): Lookup | null {
    let [next] = flight.waiters;
    if (next === undefined) return null;
    for (const waiter of flight.waiters) {
      if (tierRank(waiter.tier) < tierRank(next.tier)) next = waiter;
    }
    this.leave(next);
    flight.leader = next;
    next.flight = flight;
    return next;
  }

  /** Nobody joins from now on. @returns those that waited */
  close(flight: Flight): Lookup[] {
    if (this.byKey.get(flight.key) === flight) this.byKey.delete(flight.key);
    flight.leader.flight = null;
    const waiters = [...flight.waiters];
    for (const waiter of waiters) this.leave(waiter);
    return waiters;
  }
}
