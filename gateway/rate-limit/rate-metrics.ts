import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { RateBucket } from './rate-bucket.ts';

/** Sums of each limit over its buckets: keys and tenants are no labels, there may be thousands. */
export function registerRateMetrics(registry: Registry, buckets: ReadonlyMap<string, RateBucket>): void {
  const count = (name: string, help: string, read: (bucket: RateBucket) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['limit'],
      registers: [registry],
      collect() {
        this.reset();
        for (const bucket of buckets.values()) this.inc({ limit: bucket.limit.id }, read(bucket));
      },
    });
  };
  count('muster_gateway_rate_limit_refused', 'Requests refused by a rate limit', (b) => b.refused);
  count(
    'muster_gateway_rate_limit_would_refuse',
    'Requests served that an enforced rate limit would have refused',
    (b) => b.wouldRefuse,
  );
}
