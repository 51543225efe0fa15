import type { Logger } from 'pino';

/**
 * Wakes a class of backend that would suit a request better than the one which answers it meanwhile: nobody waits for
 * it, the next requests find it. Without this a fast class that fell asleep would sleep for as long as a slow one is
 * up. A call a service in some seconds; the table alone says whether it helped.
 */
export interface BackgroundWakeDeps {
  /** Null: there is no control API that could wake anything. */
  readonly wake: () => ((namespace: string, name: string, signal: AbortSignal) => Promise<void>) | null;
  readonly nowMs: () => number;
  readonly logger: Logger;
}

const pauseMs = 5_000;
const callMs = 10_000;

export class BackgroundWake {
  calls = 0;
  failures = 0;
  private readonly deps: BackgroundWakeDeps;
  /** By service: when it may be called for again. As many as sleep among the backends of models. */
  private readonly notBefore = new Map<string, number>();

  constructor(deps: BackgroundWakeDeps) {
    this.deps = deps;
  }

  /** With each new table. */
  forget(isAsleep: (key: string) => boolean): void {
    for (const key of this.notBefore.keys()) if (!isAsleep(key)) this.notBefore.delete(key);
  }

  call({
    key,
    namespace,
    name,
  }: {
    readonly key: string;
    readonly namespace: string;
    readonly name: string;
  }): void {
    const now = this.deps.nowMs();
    const call = this.deps.wake();
    if (call === null || now < (this.notBefore.get(key) ?? -Infinity)) return;
    this.notBefore.set(key, now + pauseMs);
    this.calls += 1;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      stop.abort();
    }, callMs);
    timer.unref();
    call(namespace, name, stop.signal)
      .catch((error: unknown) => {
        this.failures += 1;
        this.deps.logger.warn({ service: key, err: error }, 'a class of backends could not be woken');
      })
      .finally(() => {
        clearTimeout(timer);
      });
  }
}
