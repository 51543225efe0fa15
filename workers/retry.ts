/** How long to wait between tries, and when to stop trying. */
export interface Persistence {
  readonly signal: AbortSignal;
  readonly firstMs: number;
  readonly maxMs: number;
  /** Told of every failure, the first with `tries` 1. */
  readonly onFailure: (error: unknown, tries: number) => void;
}

/**
 * Tries until it succeeds or the signal is aborted, ever slower up to the limit.
 *
 * @returns undefined when aborted
 */
export async function persist<T>(work: () => Promise<T>, options: Persistence): Promise<T | undefined> {
  for (let tries = 1; !options.signal.aborted; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (options.signal.aborted) return undefined;
      options.onFailure(error, tries);
      await pause(Math.min(options.firstMs * 2 ** Math.min(tries - 1, 20), options.maxMs), options.signal);
    }
  }
  return undefined;
}

/** Resolves after the time, or at once when aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    if (signal.aborted) finish();
    else signal.addEventListener('abort', finish, { once: true });
  });
}
