import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { ObserveLatency } from '../store/database.ts';

const seconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];

/** The control API's own metrics; one registry an app, so that tests do not share it. */
export interface ApiMetrics {
  readonly registry: Registry;
  readonly requests: Histogram<'method' | 'route' | 'status'>;
  readonly changes: Counter<'change' | 'outcome'>;
  readonly observeStore: ObserveLatency;
  /** Names a number that is read when metrics are scraped. */
  gauge(name: string, help: string, read: () => number): void;
}

export function apiMetrics(): ApiMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const store = new Histogram({
    name: 'muster_api_store_seconds',
    help: 'Time of a statement or transaction of the store.',
    labelNames: ['operation'],
    buckets: seconds,
    registers,
  });
  return {
    registry,
    requests: new Histogram({
      name: 'muster_api_request_seconds',
      help: 'Time from request to answer, without streams.',
      labelNames: ['method', 'route', 'status'],
      buckets: seconds,
      registers,
    }),
    changes: new Counter({
      name: 'muster_api_changes_total',
      help: 'Changes of services and runtimes by what came of them.',
      labelNames: ['change', 'outcome'],
      registers,
    }),
    observeStore: (operation, time) => {
      store.observe({ operation }, time);
    },
    gauge(name, help, read) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    },
  };
}
