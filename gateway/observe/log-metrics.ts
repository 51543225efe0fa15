import type { Registry } from 'prom-client';
import type { AccessLog } from './access-log.ts';
import { plainMetrics } from './plain-metrics.ts';

/** Of the process's log: what is lost of it is told here, since it cannot be told there. */
export function registerLogMetrics(registry: Registry, log: AccessLog): void {
  const { counter } = plainMetrics(registry, 'muster_gateway_log_');
  counter(
    'lines_dropped_total',
    'Lines of the log that were dropped, since nobody took them',
    () => log.dropped,
  );
}
