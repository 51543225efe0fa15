import { capacityOf } from '../../domain/qos/capacity.ts';
import type { Concurrency } from '../../domain/qos/capacity.ts';
import { DrainRate } from '../../domain/qos/drain-rate.ts';
import { FairQueue } from '../../domain/qos/fair-queue.ts';
import type { QueueBounds, TierWeights } from '../../domain/qos/qos-policy.schema.ts';
import { isWell } from '../../domain/routing/pick.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/**
 * The door of one service: how many of its requests are with its servers, and who waits. It outlives route tables.
 * Two counts must agree before one more goes in: this gate's own (exact; it also holds the place of a request that
 * waits for its next try), and the endpoints' (which other services, failovers and hedges may load as well).
 */
export class Gate<P> {
  readonly key: string;
  readonly queue: FairQueue<P>;
  readonly drained = new DrainRate();
  /** Admitted and not yet over. */
  inFlight = 0;
  /** Null: not limited any more; what waits is let go. */
  private concurrency: Concurrency | null = null;
  private capacity = Infinity;
  private service: RoutedService<Endpoint> | null = null;
  private readonly nowMs: () => number;

  /** @param nowMs the clock of the endpoints */
  constructor(key: string, weights: TierWeights, nowMs: () => number) {
    this.key = key;
    this.queue = new FairQueue(weights);
    this.nowMs = nowMs;
  }

  /** With each new table: its endpoints and limits as they are now. */
  set(service: RoutedService<Endpoint> | null, concurrency: Concurrency | null): void {
    this.service = service;
    this.concurrency = concurrency;
    let ready = 0;
    for (const target of service?.targets ?? []) if (target.percent > 0) ready += target.ready.length;
    this.capacity = concurrency === null ? Infinity : capacityOf(concurrency, ready);
  }

  /** How long a request may wait here: no longer than its service lets the whole of it take. */
  ttlMs({ ttlMs }: QueueBounds): QueueBounds['ttlMs'] {
    const timeoutMs = this.service?.route.timeoutMs ?? null;
    if (timeoutMs === null) return ttlMs;
    return {
      critical: Math.min(ttlMs.critical, timeoutMs),
      high: Math.min(ttlMs.high, timeoutMs),
      standard: Math.min(ttlMs.standard, timeoutMs),
      'best-effort': Math.min(ttlMs['best-effort'], timeoutMs),
    };
  }

  /** Whether anything is left that its service's next table must find again. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.queue.size === 0;
  }

  /**
   * Nothing to wait for: no limit any more, or a service that is gone, stopped or failed. The forwarding says why.
   * A service that serves but has lost its endpoints for a moment is waited for by those who wait already.
   */
  get isOpen(): boolean {
    const state = this.service?.route.state;
    return this.concurrency === null || state === undefined || state === 'Stopped' || state === 'Failed';
  }

  /** Whether there is an endpoint at all; without one, a request that comes is the forwarding's to refuse or hold. */
  get hasEndpoints(): boolean {
    return this.capacity > 0;
  }

  /** Requests that may be with the servers at once; Infinity: any number. */
  get places(): number {
    return this.capacity;
  }

  get hasRoom(): boolean {
    if (this.isOpen) return true;
    return this.inFlight < this.capacity && this.hasFreeEndpoint();
  }

  /**
   * An endpoint that is out of favour counts only while all are: whoever comes when those that are well are full would
   * be sent to it, and since it fails fast it would take in all who wait.
   */
  private hasFreeEndpoint(): boolean {
    const { concurrency, service } = this;
    if (concurrency === null || concurrency.perEndpoint === Infinity) return true;
    let nowMs = 0; // the clock costs more than all the rest, and few endpoints were ever out of favour
    let isAnyWell = false;
    let isAnyFree = false;
    for (const target of service?.targets ?? []) {
      if (target.percent <= 0) continue;
      for (const { load } of target.ready) {
        const isFree = load.inFlight < concurrency.perEndpoint;
        if (load.skipUntilMs > 0 && nowMs === 0) nowMs = this.nowMs();
        const isInFavour = isWell(load, nowMs);
        if (isFree && isInFavour) return true;
        isAnyWell ||= isInFavour;
        isAnyFree ||= isFree;
      }
    }
    return isAnyFree && !isAnyWell;
  }
}
