import { Counter, Gauge } from 'prom-client';
import type { Aggregator, Registry } from 'prom-client';

/** Makes metrics without labels whose values are plain numbers elsewhere, read when they are scraped. */
export interface PlainMetrics {
  /** @param aggregator of the processes of one gateway; their sum when absent */
  readonly gauge: (name: string, help: string, read: () => number, aggregator?: Aggregator) => void;
  /** @param read a number that never goes back */
  readonly counter: (name: string, help: string, read: () => number) => void;
}

/** @param prefix of every name, with its last underscore */
export function plainMetrics(registry: Registry, prefix: string): PlainMetrics {
  const registers = [registry];
  return {
    gauge: (name, help, read, aggregator = 'sum') => {
      new Gauge({
        name: prefix + name,
        help,
        registers,
        aggregator,
        collect() {
          this.set(read());
        },
      });
    },
    counter: (name, help, read) => {
      new Counter({
        name: prefix + name,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(read());
        },
      });
    },
  };
}
