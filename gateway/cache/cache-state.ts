import type { CacheResult } from './cache-metrics.ts';

/** What the rest of the gateway knows of a request's way through the cache. */
export interface CacheState {
  /** How it met the cache; null before that is known. */
  readonly result: CacheResult | null;
  /** Its client left before it was told a status, and its answer goes on for others. */
  readonly isUnheard: boolean;
  /**
   * Called when the response has ended or its client is gone.
   *
   * @param settle called later, once, when the answer goes on for others that wait for it
   * @returns true when it does
   */
  outlivesClient(settle: () => void): boolean;
}
