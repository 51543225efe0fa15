import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { CachePolicy } from '../../domain/cache/cache-policy.schema.ts';
import type { Exchange } from '../front/exchange.ts';
import type { CacheGauges, CacheMetrics } from './cache-metrics.ts';
import type { Entry } from './entry.ts';
import { FlightExchange } from './flight-exchange.ts';
import { Flights } from './flights.ts';
import type { Keeper } from './keeper.ts';
import type { Flight, Lookup } from './lookup.ts';
import { Recorder } from './recorder.ts';
import type { Recorded } from './recorder.ts';
import { render } from './replay.ts';
import type { Level } from './replay.ts';
import { StaleExchange } from './stale-exchange.ts';

/** @returns false when the answer does not fit the request's form: nothing was sent then */
export type Serve = (lookup: Lookup, entry: Entry, level: Level, exchange?: Exchange) => boolean;

/**
 * What becomes of a request that memory cannot answer. It waits for another that asks for the same, or leads: looks
 * further, asks a server, keeps the answer and gives it to those that wait. A leader that brings nothing is followed
 * by the next one; one whose client leaves goes on while others wait.
 */
export class Leading {
  private readonly metrics: CacheMetrics;
  private readonly keeper: Keeper;
  private readonly nowMs: () => number;
  private readonly serve: Serve;
  private readonly flights = new Flights();
  /** Requests whose answer could not be shared lately: nobody waits for the next one. */
  private readonly unshareable = new LRUCache<string, true>({ max: 10_000, ttl: 30_000 });
  private settings: CachePolicy['singleFlight'] | null = null;

  constructor(deps: { readonly nowMs: () => number }, metrics: CacheMetrics, keeper: Keeper, serve: Serve) {
    this.nowMs = deps.nowMs;
    this.metrics = metrics;
    this.keeper = keeper;
    this.serve = serve;
  }

  use(settings: CachePolicy['singleFlight']): void {
    this.settings = settings;
  }

  gauges(): Pick<CacheGauges, 'flights' | 'waiting'> {
    return { flights: () => this.flights.size, waiting: () => this.flights.waiting };
  }

  /** @returns as `Step.enter` */
  begin(lookup: Lookup): boolean {
    const { settings } = this;
    const { isRefresh, isOnlyIfCached } = lookup.directives;
    const mayShare = settings?.enabled === true && !isOnlyIfCached && !this.unshareable.has(lookup.key.local);
    if (mayShare) {
      const flight = isRefresh ? null : this.flights.find(lookup, settings.waitersMax);
      // What was under way at a purge is not for those who ask after it.
      if (flight !== null && !this.keeper.isPurged(flight.leader)) {
        this.flights.join(flight, lookup, settings.waitMs, this.waitedTooLong);
        flight.leader.exchange?.joined();
        return false;
      }
      this.flights.open(lookup);
    }
    if (!isRefresh && this.keeper.canFindMore(lookup)) {
      this.lookFurther(lookup).catch((error: unknown) => {
        this.conclude(lookup, null);
        lookup.flow.failed(lookup.passage, error);
      });
      return false;
    }
    if (isOnlyIfCached) {
      this.refuse(lookup);
      return false;
    }
    this.ask(lookup);
    return true;
  }

  /** Its response has ended or its client is gone. */
  left(lookup: Lookup): void {
    const flight = this.flights.leave(lookup);
    if (flight === null) {
      if (!lookup.isServed) this.conclude(lookup, null);
    } else if (flight.waiters.size === 0) flight.leader.exchange?.abandon();
  }

  private async lookFurther(lookup: Lookup): Promise<void> {
    const { directives, passage } = lookup;
    let found = await this.keeper.find(lookup);
    if (found === null && !directives.isOnlyIfCached && !passage.isClosed) {
      const entry = await this.keeper.awaitOthers(lookup, sleep);
      if (entry !== null) found = { entry, level: 'shared' };
    }
    if (passage.isClosed) {
      this.keeper.unlock(lookup);
      return; // its flight went to the next when its client left
    }
    if (found !== null && this.serve(lookup, found.entry, found.level)) {
      this.conclude(lookup, { kind: 'answer', entry: found.entry });
      return;
    }
    if (directives.isOnlyIfCached) this.refuse(lookup);
    else {
      this.ask(lookup);
      lookup.flow.proceed(passage);
    }
  }

  private refuse(lookup: Lookup): void {
    lookup.service.numbers.results.miss += 1;
    lookup.passage.addHeader('x-muster-cache', 'miss');
    const message = 'There is no cached answer to this request, and it asks for no other (only-if-cached).';
    lookup.flow.refuse(lookup.passage, { code: 'not_cached', message });
  }

  /** The request goes on to a server: its answer is recorded on the way. */
  private ask(lookup: Lookup): void {
    const { passage, service, request, directives } = lookup;
    lookup.result = directives.isRefresh ? 'refresh' : 'miss';
    service.numbers.results[lookup.result] += 1;
    passage.addHeader('x-muster-cache', lookup.result);
    const { delivery, choices, isKserve } = request;
    lookup.recorder = new Recorder(
      {
        rules: service.rules,
        delivery,
        choices,
        isKserve,
        revision: () => passage.candidate?.revision ?? '',
      },
      this.nowMs,
      (recorded) => {
        this.keeper.keep(lookup, recorded);
        this.conclude(lookup, isByAnother(lookup) ? null : recorded);
      },
    );
    passage.tapInto(lookup.recorder);
    const { stale } = lookup;
    if (stale !== null && !directives.isRefresh && render(lookup, stale) !== null) {
      passage.exchange = new StaleExchange(passage.exchange, (exchange) => {
        this.serve(lookup, stale, 'stale', exchange);
        this.conclude(lookup, null); // those that wait have their own old answers
      });
    }
    if (lookup.isLeader) {
      lookup.exchange = new FlightExchange(passage.exchange, {
        isWanted: () => isWanted(lookup),
        ended: () => {
          lookup.settle?.();
        },
      });
      passage.exchange = lookup.exchange;
    }
  }

  /** @param recorded null: there is no answer and there will be none */
  private conclude(lookup: Lookup, recorded: Recorded | null): void {
    if (lookup.isConcluded) return;
    lookup.isConcluded = true;
    this.keeper.unlock(lookup);
    const { flight } = lookup;
    if (flight?.leader !== lookup) return;
    if (lookup.exchange?.isOrphan === true) this.metrics.outlived += 1;
    if (recorded?.kind === 'answer') {
      this.share(flight, recorded.entry);
      return;
    }
    if (recorded?.isLasting === true) this.unshareable.set(flight.key, true);
    this.next(flight, recorded?.isLasting === true);
    // Without its client the rest of it, if there is more, is nobody's.
    if (lookup.exchange?.isOrphan === true) setImmediate(() => lookup.exchange?.abandon());
  }

  /** A refusal may be due to what only its leader said: those that said otherwise go on without it. */
  private share(flight: Flight, entry: Entry): void {
    const { unkeyed } = flight.leader.request;
    for (const waiter of [...flight.waiters]) {
      if (entry.status !== 200 && waiter.request.unkeyed !== unkeyed) continue;
      this.flights.leave(waiter);
      this.giveOrAsk(waiter, entry);
    }
    if (flight.waiters.size > 0) this.next(flight, false);
    else this.flights.close(flight);
  }

  private giveOrAsk(waiter: Lookup, entry: Entry): void {
    if (waiter.passage.isClosed) return;
    try {
      // The leader may have found one that is young enough for itself and not for others.
      if (!this.keeper.isYoungEnough(waiter, entry)) this.askAlone(waiter, 'too_old');
      else if (this.serve(waiter, entry, 'flight')) waiter.isConcluded = true;
      else this.askAlone(waiter, 'other_form');
    } catch (error) {
      waiter.flow.failed(waiter.passage, error); // its own trouble, and not that of the others
    }
  }

  /** The leader brought nothing: the most urgent of the waiters leads, or all go on by themselves. */
  private next(flight: Flight, isLasting: boolean): void {
    flight.fruitless += 1;
    const leadersMax = this.settings?.leadersMax ?? 1;
    const leader = isLasting || flight.fruitless >= leadersMax ? null : this.flights.promote(flight);
    if (leader === null) {
      for (const waiter of this.flights.close(flight)) this.askAlone(waiter, 'no_answer');
      return;
    }
    this.metrics.count(this.metrics.unservedWaits, 'promoted');
    this.ask(leader);
    leader.flow.proceed(leader.passage);
  }

  private readonly waitedTooLong = (lookup: Lookup): void => {
    const flight = this.flights.leave(lookup);
    if (flight === null) return;
    this.askAlone(lookup, 'too_long');
    if (flight.waiters.size === 0) flight.leader.exchange?.abandon();
  };

  private askAlone(lookup: Lookup, why: string): void {
    this.metrics.count(this.metrics.unservedWaits, why);
    this.ask(lookup);
    lookup.flow.proceed(lookup.passage);
  }
}

function isWanted(lookup: Lookup): boolean {
  const { flight, recorder, isConcluded } = lookup;
  if (flight === null || flight.waiters.size === 0 || isConcluded) return false;
  return recorder?.isHopeful === true && !isByAnother(lookup);
}

/** A service stood in that others may not ask, or that asks for itself who calls: its answer is for this one alone. */
function isByAnother({ passage, service }: Lookup): boolean {
  return passage.service?.key !== service.key || passage.service.route.passAuthorization === true;
}
