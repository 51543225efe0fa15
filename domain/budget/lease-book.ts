/**
 * The book of one budget's window: who holds how much of it. Redis keeps it for several gateways (lease-script.ts does
 * in Lua what this file does), a gateway alone keeps it in its journal. Nothing is granted beyond the limit.
 *
 * A call is repeated with its number until it is answered, so that a lost answer grants nothing twice. Each call tells
 * all that its gateway was ever granted: what it took while the book was away is thereby entered, and what a settling
 * gave back too early is taken again. A book that was lost is begun anew under another epoch and restored from what
 * callers know: the highest total that anyone was told, plus what each took since.
 */
export interface Amounts {
  readonly tokens: number;
  readonly micros: number;
}

export interface LeaseCall {
  readonly gateway: string;
  /** Grows with each call that wants something else. */
  readonly sequence: number;
  /** Below zero: given back. */
  readonly want: Amounts;
  /** Sum of all that this gateway took in this window, before this call. */
  readonly granted: Amounts;
  /** Part of `granted` that it took on its own since it was last answered. */
  readonly offline: Amounts;
  readonly spent: Amounts;
  /** Of the last answer; '' before the first. */
  readonly epoch: string;
  readonly known: Amounts;
  /** For a book that has to be begun. */
  readonly newEpoch: string;
}

export interface LeaseAnswer {
  readonly epoch: string;
  readonly grant: Amounts;
  /** All that is granted of this window now. */
  readonly total: Amounts;
  /** That called of late. */
  readonly gateways: number;
}

export interface BookEntry {
  readonly sequence: number;
  readonly grant: Amounts;
  readonly granted: Amounts;
  readonly spent: Amounts;
  readonly atMs: number;
}

export interface LeaseBook {
  readonly epoch: string;
  readonly bornMs: number;
  /** Total of former epochs. */
  readonly restored: Amounts;
  /** Granted since, less what came back. */
  readonly since: Amounts;
  readonly entries: Readonly<Record<string, BookEntry>>;
}

/** Infinity: no limit. */
export type Limits = Amounts;

/** A gateway that has not called for so long counts as gone. */
export const goneAfterMs = 60_000;
/** And after so long the book forgets it: the ledger's account of it is enough. */
export const forgottenAfterMs = 24 * 3_600_000;
/** How long books outlive their window: so long a late record can still correct them. */
export const keptAfterEndMs = 7 * 24 * 3_600_000;

const zero: Amounts = Object.freeze({ tokens: 0, micros: 0 });

/** One call. A null book is begun. */
export function lease(
  book: LeaseBook | null,
  limits: Limits,
  call: LeaseCall,
  nowMs: number,
): { book: LeaseBook; answer: LeaseAnswer } {
  const { epoch, bornMs, restored: formerly, since: before, entries: known } = book ?? begun(call, nowMs);
  const isOldEpoch = call.epoch !== '' && call.epoch !== epoch;
  const restored = isOldEpoch ? greatest(formerly, call.known) : formerly;
  const entry = known[call.gateway];
  const since = plus(before, less(call.granted, enteredOf(entry, call, isOldEpoch)));
  const isRepeat = entry?.sequence === call.sequence;
  const grant = isRepeat ? entry.grant : grantOf(call.want, limits, plus(restored, since));
  const next = {
    sequence: call.sequence,
    grant,
    granted: plus(call.granted, grant),
    spent: call.spent,
    atMs: nowMs,
  };
  const entries = { ...known, [call.gateway]: next };
  const sinceThen = isRepeat ? since : plus(since, grant);
  const gateways = Object.values(entries).filter(({ atMs }) => atMs > nowMs - goneAfterMs).length;
  return {
    book: { epoch, bornMs, restored, since: sinceThen, entries },
    answer: { epoch, grant, total: plus(restored, sinceThen), gateways },
  };
}

function begun(call: LeaseCall, nowMs: number): LeaseBook {
  return { epoch: call.newEpoch, bornMs: nowMs, restored: zero, since: zero, entries: {} };
}

/** What the book has of this gateway, without the grant of this very call, whose answer was lost. */
function enteredOf(entry: BookEntry | undefined, call: LeaseCall, isOldEpoch: boolean): Amounts {
  if (entry === undefined) return isOldEpoch ? less(call.granted, call.offline) : zero;
  return entry.sequence === call.sequence ? less(entry.granted, entry.grant) : entry.granted;
}

/**
 * Corrects a book to the ledger: gateways that are gone hold what they spent by the ledger's account, those that call
 * hold what they were granted. Repeating it changes nothing. A young book is left alone, since not all may have called.
 * @param spent by gateway, as the ledger knows it
 * @returns the corrected book, and what came back (or, below zero, was spent beyond what the book knew)
 */
export function settle(
  book: LeaseBook,
  spent: Readonly<Record<string, Amounts>>,
  nowMs: number,
): { book: LeaseBook; returned: Amounts } {
  if (nowMs - book.bornMs < goneAfterMs) return { book, returned: zero };
  let total = zero;
  const entries: Record<string, BookEntry> = {};
  for (const [gateway, entry] of Object.entries(book.entries)) {
    const isGone = entry.atMs <= nowMs - goneAfterMs;
    const granted = isGone ? (spent[gateway] ?? zero) : entry.granted;
    total = plus(total, granted);
    if (entry.atMs > nowMs - forgottenAfterMs)
      entries[gateway] = { ...entry, granted, grant: isGone ? zero : entry.grant };
  }
  for (const [gateway, amounts] of Object.entries(spent))
    if (book.entries[gateway] === undefined) total = plus(total, amounts);
  const returned = less(plus(book.restored, book.since), total);
  return { book: { ...book, restored: zero, since: total, entries }, returned };
}

function grantOf(want: Amounts, limits: Limits, total: Amounts): Amounts {
  return {
    tokens: grantOne(want.tokens, limits.tokens - total.tokens),
    micros: grantOne(want.micros, limits.micros - total.micros),
  };
}

function grantOne(want: number, left: number): number {
  return want <= 0 ? want : Math.max(0, Math.min(want, left));
}

function plus(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens + b.tokens, micros: a.micros + b.micros };
}

function less(a: Amounts, b: Amounts): Amounts {
  return { tokens: a.tokens - b.tokens, micros: a.micros - b.micros };
}

function greatest(a: Amounts, b: Amounts): Amounts {
  return { tokens: Math.max(a.tokens, b.tokens), micros: Math.max(a.micros, b.micros) };
}
