import type { Amounts, LeaseAnswer, LeaseCall, Limits } from './lease-book.ts';

/**
 * What one gateway holds of one budget's window, and counts in memory: the only thing that a request touches. It
 * leases a slice at a time and asks for the next one while half of it is left, so that requests do not wait.
 *
 *   left = granted - spent - reserved by requests in flight
 *
 * `left` may fall below zero only by answers that used more than was reserved for them; the next slice pays for that,
 * or the next report, whichever comes first.
 * While the book is away it goes on with its part of what was left when it last heard: (limit - known) / gateways.
 */
export class BudgetShare {
  leftTokens: number;
  leftMicros: number;
  reservedTokens = 0;
  reservedMicros = 0;
  inFlight = 0;
  spentTokens = 0;
  spentMicros = 0;
  /** More than was reserved, summed: with the slices the bound of overspending. */
  overdrawnTokens = 0;
  overdrawnMicros = 0;
  /** Of the last answer. */
  knownTokens = 0;
  knownMicros = 0;
  gateways: number;
  limits: Limits;
  slice: Amounts;
  private grantedTokens = 0;
  private grantedMicros = 0;
  private offlineTokens = 0;
  private offlineMicros = 0;
  private epoch = '';
  private sequence = 0;
  private pending: { readonly want: Amounts; sentOffline: Amounts } | null = null;

  /** @param gateways that share this budget, as far as is known before the first answer */
  constructor(limits: Limits, slice: Amounts, gateways: number) {
    this.limits = limits;
    this.slice = slice;
    this.gateways = gateways;
    this.leftTokens = limits.tokens === Infinity ? Infinity : 0;
    this.leftMicros = limits.micros === Infinity ? Infinity : 0;
  }

  /** Limits of now; what is held stays held, and what was spent counts under the new limit, too. */
  change(limits: Limits, slice: Amounts): void {
    this.leftTokens = leftAfter(this.limits.tokens, limits.tokens, this.leftTokens, this.heldTokens);
    this.leftMicros = leftAfter(this.limits.micros, limits.micros, this.leftMicros, this.heldMicros);
    this.limits = limits;
    this.slice = slice;
  }

  private get heldTokens(): number {
    return this.grantedTokens - this.spentTokens - this.reservedTokens;
  }

  private get heldMicros(): number {
    return this.grantedMicros - this.spentMicros - this.reservedMicros;
  }

  get granted(): Amounts {
    return { tokens: this.grantedTokens, micros: this.grantedMicros };
  }

  /** Outstanding: leased and not spent. */
  get outstanding(): Amounts {
    return {
      tokens: Math.max(0, this.grantedTokens - this.spentTokens),
      micros: Math.max(0, this.grantedMicros - this.spentMicros),
    };
  }

  /** More was used, or let pass, than was granted. */
  get isOwing(): boolean {
    return this.leftTokens < 0 || this.leftMicros < 0;
  }

  /** More is left than a slice. */
  get hasExcess(): boolean {
    return isBeyond(this.leftTokens, this.slice.tokens) || isBeyond(this.leftMicros, this.slice.micros);
  }

  /** A call has no answer yet: the next one will be its repetition. */
  get isUnanswered(): boolean {
    return this.pending !== null;
  }

  /** A request without tokens, or without a price, is no matter of a limit of that kind. */
  covers(tokens: number, micros: number): boolean {
    return (tokens === 0 || this.leftTokens >= tokens) && (micros === 0 || this.leftMicros >= micros);
  }

  /** Half a slice or less is left: time to ask for the next. */
  isLow(): boolean {
    return this.leftTokens < this.slice.tokens / 2 || this.leftMicros < this.slice.micros / 2;
  }

  reserve(tokens: number, micros: number): void {
    this.inFlight += 1;
    this.leftTokens -= tokens;
    this.leftMicros -= micros;
    this.reservedTokens += tokens;
    this.reservedMicros += micros;
  }

  /** @param tokens that were reserved; @param usedTokens the truth */
  settle(tokens: number, micros: number, usedTokens: number, usedMicros: number): void {
    this.inFlight -= 1;
    this.reservedTokens -= tokens;
    this.reservedMicros -= micros;
    this.leftTokens += tokens - usedTokens;
    this.leftMicros += micros - usedMicros;
    this.spentTokens += usedTokens;
    this.spentMicros += usedMicros;
    if (usedTokens > tokens) this.overdrawnTokens += usedTokens - tokens;
    if (usedMicros > micros) this.overdrawnMicros += usedMicros - micros;
  }

  /**
   * The call to send now; the former one again while it has no answer.
   * @param need of requests that wait, at least so much shall be left afterwards
   */
  call(gateway: string, newEpoch: string, need: Amounts): LeaseCall {
    if (this.pending === null) {
      const want = {
        tokens: wanted(this.leftTokens, this.slice.tokens, need.tokens),
        micros: wanted(this.leftMicros, this.slice.micros, need.micros),
      };
      this.begin(want);
    }
    return this.repeat(gateway, newEpoch);
  }

  /**
   * Tells what is spent, and gives back what is left beyond what is kept; what was used beyond all that was granted is
   * asked for.
   */
  callToReturn(gateway: string, newEpoch: string, kept: Kept): LeaseCall {
    if (this.pending === null) {
      const want = {
        tokens: owedOrReturned(this.leftTokens, keptOf(kept, this.slice.tokens)),
        micros: owedOrReturned(this.leftMicros, keptOf(kept, this.slice.micros)),
      };
      // Taken away at once: nobody may spend what is on its way back.
      if (want.tokens < 0) this.leftTokens += want.tokens;
      if (want.micros < 0) this.leftMicros += want.micros;
      this.begin(want);
    }
    return this.repeat(gateway, newEpoch);
  }

  answered(answer: LeaseAnswer): void {
    const { pending } = this;
    if (pending === null) return;
    this.pending = null;
    this.grantedTokens += answer.grant.tokens;
    this.grantedMicros += answer.grant.micros;
    if (pending.want.tokens > 0) this.leftTokens += answer.grant.tokens;
    if (pending.want.micros > 0) this.leftMicros += answer.grant.micros;
    this.offlineTokens -= pending.sentOffline.tokens;
    this.offlineMicros -= pending.sentOffline.micros;
    this.knownTokens = answer.total.tokens;
    this.knownMicros = answer.total.micros;
    this.gateways = Math.max(1, answer.gateways);
    this.epoch = answer.epoch;
  }

  /**
   * The book is away: takes a slice of this gateway's part of what was left of the budget.
   * @returns whether there was something to take
   */
  takeOffline(need: Amounts): boolean {
    const tokens = this.offlinePart(this.limits.tokens, this.knownTokens, this.offlineTokens);
    const micros = this.offlinePart(this.limits.micros, this.knownMicros, this.offlineMicros);
    const takeTokens = Math.min(tokens, wanted(this.leftTokens, this.slice.tokens, need.tokens));
    const takeMicros = Math.min(micros, wanted(this.leftMicros, this.slice.micros, need.micros));
    this.grantedTokens += takeTokens;
    this.grantedMicros += takeMicros;
    this.offlineTokens += takeTokens;
    this.offlineMicros += takeMicros;
    this.leftTokens += takeTokens;
    this.leftMicros += takeMicros;
    return takeTokens > 0 || takeMicros > 0;
  }

  private begin(want: Amounts): void {
    this.sequence += 1;
    this.pending = { want, sentOffline: nothing };
  }

  private repeat(gateway: string, newEpoch: string): LeaseCall {
    const { pending } = this;
    const offline = { tokens: this.offlineTokens, micros: this.offlineMicros };
    if (pending !== null) pending.sentOffline = offline;
    return {
      gateway,
      sequence: this.sequence,
      want: pending?.want ?? nothing,
      granted: this.granted,
      offline,
      spent: { tokens: this.spentTokens, micros: this.spentMicros },
      epoch: this.epoch,
      known: { tokens: this.knownTokens, micros: this.knownMicros },
      newEpoch,
    };
  }

  private offlinePart(limit: number, known: number, taken: number): number {
    if (limit === Infinity) return 0;
    return Math.max(0, Math.floor((limit - known) / this.gateways) - taken);
  }
}

/** Of what is left, by a gateway that tells the book what it spent. */
export type Kept = 'all' | 'slice' | 'nothing';

const nothing: Amounts = Object.freeze({ tokens: 0, micros: 0 });

/** @param held granted, less spent and reserved: what is left when there was no limit to count against before */
function leftAfter(limit: number, next: number, left: number, held: number): number {
  if (next === Infinity) return Infinity;
  return limit === Infinity ? held : left;
}

/** Above zero: owed. */
function owedOrReturned(left: number, kept: number): number {
  if (left === Infinity) return 0;
  return left < 0 ? -left : Math.min(0, kept - left);
}

function isBeyond(left: number, slice: number): boolean {
  return left !== Infinity && left > slice;
}

function keptOf(kept: Kept, slice: number): number {
  if (kept === 'nothing') return 0;
  return kept === 'slice' ? slice : Infinity;
}

/** Up to a whole slice, and whatever waits beyond it. */
function wanted(left: number, slice: number, need: number): number {
  if (left === Infinity) return 0;
  return left < slice / 2 || left < need ? Math.max(0, slice + need - left) : 0;
}
