/**
 * Whether a failed try may be repeated. A request that never left this process may be: a refused connection did
 * nothing. One that was sent may have been worked on, so it is repeated once, and only when its operation is a
 * pure function of its body (inference and reads; RFC 9110 section 9.2.2 allows it where the client knows that).
 * Once, because a request that kills its server must not kill them all. Timeouts and garbage are never repeated.
 */
export type FailureKind = 'refused' | 'reset' | 'timeout' | 'garbage';

export interface FailedTry {
  readonly kind: FailureKind;
  /** The request was (perhaps partly) written to a connection. */
  readonly wasSent: boolean;
  /** Tries so far, this one too. */
  readonly tries: number;
  /** Tries so far that were sent. */
  readonly sentTries: number;
  readonly elapsedMs: number;
  readonly isRepeatable: boolean;
}

export interface RetryLimits {
  readonly triesMax: number;
  /** No try begins later than this after the first. */
  readonly retryWindowMs: number;
}

/** @returns how long to wait before the next try, or null to give up */
export function retryDelayMs(failed: FailedTry, limits: RetryLimits, chance: () => number): number | null {
  if (failed.tries >= limits.triesMax) return null;
  if (failed.wasSent && !(failed.kind === 'reset' && failed.isRepeatable && failed.sentTries === 1))
    return null;
  // 5-10 ms, then 25-50 ms, …: time enough for a new table to arrive, without a pause that a caller would notice.
  const delay = 10 * 5 ** (failed.tries - 1) * (0.5 + chance() / 2);
  return failed.elapsedMs + delay > limits.retryWindowMs ? null : delay;
}
