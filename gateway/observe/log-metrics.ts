import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import type { AccessLog } from './access-log.ts';

/** Of the process's log: what is lost of it is told here, since it cannot be told there. */
export function registerLogMetrics(registry: Registry, log: AccessLog): void {
  new Counter({
    name: 'muster_gateway_log_lines_dropped_total',
    help: 'Lines of the log that were dropped, since nobody took them',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(log.dropped);
    },
  });
}
