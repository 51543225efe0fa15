import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';
import type { LimitCounts } from './rate-bucket.ts';
import type { RateStep } from './rate-step.ts';

/** By limit: keys and tenants are no labels, there may be thousands. */
export function registerRateMetrics(registry: Registry, { buckets, counts }: RateStep): void {
  plainMetrics(registry, 'muster_gateway_rate_limit_').gauge(
    'buckets',
    'Buckets of rate limits',
    () => buckets.size,
  );
  const count = (name: string, help: string, read: (counts: LimitCounts) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['limit'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [limit, each] of counts) this.set({ limit }, read(each));
      },
    });
  };
  count('muster_gateway_rate_limit_refused', 'Requests refused by a rate limit', (n) => n.refused);
  count(
    'muster_gateway_rate_limit_would_refuse',
    'Requests served that an enforced rate limit would have refused',
    (n) => n.wouldRefuse,
  );
}
