import { MusterError } from '../domain/errors.ts';

/** The bound on inferences that wait or run in this process. What comes on top is refused at once. */
export class Admission {
  readonly limit: number;
  #inFlight = 0;
  #refused = 0;
  #idle: (() => void)[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get refused(): number {
    return this.#refused;
  }

  /** @throws MusterError `overloaded` */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inFlight >= this.limit) {
      this.#refused++;
      throw new MusterError(
        'overloaded',
        `The queue is full: ${this.limit} inferences wait or run. Try again later.`,
      );
    }
    this.#inFlight++;
    try {
      return await work();
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) for (const wake of this.#idle.splice(0)) wake();
    }
  }

  /** Resolves when nothing waits or runs. */
  async idle(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }
}
