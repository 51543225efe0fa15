/**
 * One run of a task however many ask for it at the same time. Progress goes to all who wait; one who gives up
 * leaves, and the task itself is cancelled when the last has left.
 */
export interface Task<Progress> {
  readonly signal: AbortSignal;
  readonly report: (progress: Progress) => void;
}

interface Flight<Value, Progress> {
  readonly result: Promise<Value>;
  readonly cancel: AbortController;
  readonly watchers: Set<(progress: Progress) => void>;
  last: Progress | undefined;
}

export class SingleFlight<Value, Progress> {
  readonly #flights = new Map<string, Flight<Value, Progress>>();

  async run(
    key: string,
    work: (task: Task<Progress>) => Promise<Value>,
    caller: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
  ): Promise<Value> {
    caller.signal.throwIfAborted();
    const flight = await this.#join(key, work);
    const watcher = caller.onProgress;
    flight.watchers.add(watcher);
    if (flight.last !== undefined) watcher(flight.last);
    let leave: (() => void) | undefined;
    const left = new Promise<never>((_, reject) => {
      leave = () => {
        reject(caller.signal.reason as Error);
      };
      caller.signal.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([flight.result, left]);
    } finally {
      if (leave) caller.signal.removeEventListener('abort', leave);
      flight.watchers.delete(watcher);
      if (flight.watchers.size === 0) flight.cancel.abort(new Error('Nobody waits for it any more.'));
    }
  }

  async #join(key: string, work: (task: Task<Progress>) => Promise<Value>): Promise<Flight<Value, Progress>> {
    for (;;) {
      const present = this.#flights.get(key);
      if (!present) return this.#begin(key, work);
      if (!present.cancel.signal.aborted) return present;
      // It is being given up: two runs must not write to one place, so wait until it has ended.
      await present.result.catch(() => undefined);
    }
  }

  #begin(key: string, work: (task: Task<Progress>) => Promise<Value>): Flight<Value, Progress> {
    const cancel = new AbortController();
    const watchers = new Set<(progress: Progress) => void>();
    const report = (progress: Progress): void => {
      flight.last = progress;
      for (const watch of watchers) watch(progress);
    };
    const result = Promise.resolve()
      .then(() => work({ signal: cancel.signal, report }))
      .finally(() => this.#flights.delete(key));
    const flight: Flight<Value, Progress> = { result, cancel, watchers, last: undefined };
    result.catch(() => undefined);
    this.#flights.set(key, flight);
    return flight;
  }
}
