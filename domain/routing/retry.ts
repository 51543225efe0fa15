/**
 * Whether a failed try may be repeated. A request that never left this process may be: a refused connection did
 * nothing. One that was sent may have been worked on, so it is repeated once, and only when its operation is a
 * pure function of its body (inference and reads; RFC 9110 section 9.2.2 allows it where the client knows that).
 * Once, because a request that kills its server must not kill them all. Garbage is repeated elsewhere alone.
 * A timeout is final, unless each try has a time of its own: then that is what it is for. A server that answers
 * "not now" (429, 502, 503, 504) lives: another is asked at once, and itself only after the time that it names.
 */
export type FailureKind = 'refused' | 'reset' | 'timeout' | 'garbage';

export interface FailedTry {
  /** status: the server answered with one that the policy tries elsewhere. */
  readonly kind: FailureKind | 'status';
  /** The request was (perhaps partly) written to a connection. */
  readonly wasSent: boolean;
  /** Tries so far, this one too. */
  readonly tries: number;
  /** Tries so far that were sent and broke. */
  readonly brokenTries: number;
  /** Since the first failure. */
  readonly elapsedMs: number;
  readonly isRepeatable: boolean;
  /** An endpoint that can serve and was not tried is there. */
  readonly hasOther: boolean;
  /** What the server asked for, with a status. */
  readonly retryAfterMs: number | null;
}

export interface RetryBounds {
  readonly triesMax: number;
  /** No try begins later than this after the first failure. */
  readonly retryWindowMs: number;
}

export interface RetryLimits extends RetryBounds {
  readonly retryAfterMsMax: number;
  /** Each try has a time of its own. */
  readonly isTryTimed: boolean;
}

/** @returns how long to wait before the next try, or null to give up */
export function retryDelayMs(failed: FailedTry, limits: RetryLimits, chance: () => number): number | null {
  if (failed.tries >= limits.triesMax || !mayRepeat(failed, limits)) return null;
  const delay = delayMs(failed, chance);
  return failed.elapsedMs + delay > limits.retryWindowMs && failed.kind !== 'timeout' ? null : delay;
}

/** Whether a failure allows the request to be sent again at all, here or to another service. */
export function mayRepeat(failed: FailedTry, limits: RetryLimits): boolean {
  if (failed.kind === 'status') {
    if (!failed.isRepeatable) return false;
    return failed.hasOther || (failed.retryAfterMs !== null && failed.retryAfterMs <= limits.retryAfterMsMax);
  }
  if (!failed.wasSent) return true;
  if (!failed.isRepeatable) return false;
  switch (failed.kind) {
    case 'reset':
      return failed.brokenTries <= 1;
    case 'garbage':
      return failed.brokenTries <= 1 && failed.hasOther;
    case 'timeout':
      return limits.isTryTimed;
    case 'refused':
      return false; // a refusal after something was sent cannot be: take no chances
  }
}

function delayMs(failed: FailedTry, chance: () => number): number {
  if (failed.kind === 'status' && !failed.hasOther) return failed.retryAfterMs ?? 0;
  if (failed.tries === 1 && failed.hasOther) return 0;
  // 5-10 ms, then 25-50 ms, …: time enough for a new table to arrive, without a pause that a caller would notice.
  return 10 * 5 ** (Math.min(failed.tries, 10) - 1) * (0.5 + chance() / 2);
}

/** @param value of a Retry-After header, RFC 9110 section 10.2.3 @param epochMs the wall clock, for dates */
export function retryAfterMs(value: string | string[] | undefined, epochMs: number): number | null {
  if (typeof value !== 'string') return null;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value.trim()) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? null : Math.max(0, at - epochMs);
}
