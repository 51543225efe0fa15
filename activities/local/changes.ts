import { setTimeout as sleep } from 'node:timers/promises';

/** Tells listeners that something changed, not what: they look for themselves, so a lost or doubled call is harmless. */
export class Changes {
  readonly #listeners = new Set<() => void>();

  /** @returns a function that ends the listening */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Returns at the next change of any, or after the time. @throws the signal's reason when it is aborted */
export async function waitForChange(
  sources: readonly Changes[],
  signal: AbortSignal,
  timeoutMs: number,
): Promise<void> {
  const changed = new AbortController();
  const ends = sources.map((source) =>
    source.listen(() => {
      changed.abort();
    }),
  );
  const wake = AbortSignal.any([signal, changed.signal]);
  await sleep(timeoutMs, undefined, { signal: wake }).catch(() => undefined);
  for (const end of ends) end();
  signal.throwIfAborted();
}
