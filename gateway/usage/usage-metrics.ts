import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Meters, UsageNumbers } from './meters.ts';

const last = 'muster_gateway_usage_cost_micros_total';
const labels = ['namespace', 'service', 'model', 'tenant'] as const;

/**
 * Tokens and money by service, model and tenant; the sums are plain numbers until they are scraped. Those of a service
 * that has left the table are told once more, then dropped.
 */
export function registerUsageMetrics(
  registry: Registry,
  meters: Meters,
  isAlive: (service: string) => boolean,
): void {
  const add = (name: string, help: string, read: (numbers: UsageNumbers) => number): void => {
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        for (const numbers of meters.numbers.values()) {
          const { namespace, service, model, tenant } = numbers;
          this.inc({ namespace, service, model, tenant }, read(numbers));
        }
        if (name === last) meters.dropUnless(isAlive);
      },
    });
  };
  add('muster_gateway_usage_requests_total', 'Answered requests that were counted', (n) => n.requests);
  add(
    'muster_gateway_usage_estimated_total',
    'Of them, those whose answer did not tell its tokens',
    (n) => n.estimated,
  );
  add(
    'muster_gateway_usage_input_tokens_total',
    'Input tokens, as servers counted them',
    (n) => n.inputTokens,
  );
  add(
    'muster_gateway_usage_cached_input_tokens_total',
    'Of them, those that servers found in their prefix caches',
    (n) => n.cachedInputTokens,
  );
  add(
    'muster_gateway_usage_output_tokens_total',
    'Output tokens, as servers counted them',
    (n) => n.outputTokens,
  );
  add(last, 'Cost by the price table, in millionths of its currency', (n) => n.costMicros);
}
