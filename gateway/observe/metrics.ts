import { Counter, Registry } from 'prom-client';
import type { Metric } from 'prom-client';
import type { ApiProtocol } from '../../domain/routing/operation.ts';
import type { FailureKind } from '../../domain/routing/retry.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { plainMetrics } from './plain-metrics.ts';
import { registerProcessMetrics } from './process-metrics.ts';

/**
 * Metrics as plain numbers: a request adds to them after one look-up by its service's key; prom-client
 * reads them when it is scraped. Labels are names from the route table, never a caller's words, so that nobody
 * can make series without end; requests without a service count under empty names.
 */
export interface Series {
  readonly namespace: string;
  readonly service: string;
  readonly protocol: ApiProtocol;
  /** By status code, from 100 on. */
  readonly requests: Float64Array;
  readonly seconds: Distribution;
  readonly firstByteSeconds: Distribution;
}

interface Distribution {
  readonly counts: Float64Array;
  sum: number;
}

const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Every status that a response may have. */
const codeMin = 100;
const codeMax = 599;

export interface ServiceNumbers {
  readonly namespace: string;
  readonly service: string;
  retries: number;
  readonly failures: Map<FailureKind, number>;
  readonly byProtocol: Map<ApiProtocol, Series>;
}

export class GatewayMetrics {
  readonly registry = new Registry();
  inFlight = 0;
  tableVersion = -1;
  /** Date.now() of the last table that was accepted; 0: none yet. */
  tableAtMs = 0;
  tablesRefused = 0;
  /** Where several processes share one port: the metrics of all of them, whichever is asked. */
  ofAllProcesses: (() => Promise<string>) | null = null;
  private readonly byService = new Map<string, ServiceNumbers>();
  private readonly isAlive: (key: string) => boolean;

  /**
   * @param isAlive whether a service is in the table: numbers of the others are dropped once scraped
   * @param isRehearsal without numbers of the process, whose observers could not be taken away again
   */
  constructor(isAlive: (key: string) => boolean, now: () => number, isRehearsal = false) {
    this.isAlive = isAlive;
    this.register(now);
    if (!isRehearsal) registerProcessMetrics(this.registry);
  }

  /** @param service null: numbers of requests that found none */
  ofService(service: RoutedService | null): ServiceNumbers {
    const key = service === null ? '' : service.key;
    const known = this.byService.get(key);
    if (known !== undefined) return known;
    const { namespace, name } = service?.route ?? { namespace: '', name: '' };
    const made = { namespace, service: name, retries: 0, failures: new Map(), byProtocol: new Map() };
    this.byService.set(key, made);
    return made;
  }

  observe(
    numbers: ServiceNumbers,
    protocol: ApiProtocol,
    code: number,
    ms: number,
    firstByteMs: number,
  ): void {
    const series = numbers.byProtocol.get(protocol) ?? addSeries(numbers, protocol);
    const at = code - codeMin;
    series.requests[at] = (series.requests[at] ?? 0) + 1;
    add(series.seconds, ms / 1000);
    if (firstByteMs >= 0) add(series.firstByteSeconds, firstByteMs / 1000);
  }

  async text(): Promise<string> {
    const text = await (this.ofAllProcesses?.() ?? this.registry.metrics());
    for (const key of this.byService.keys()) if (key !== '' && !this.isAlive(key)) this.byService.delete(key);
    return text;
  }

  private register(now: () => number): void {
    const plain = plainMetrics(this.registry, 'muster_gateway_');
    plain.gauge('in_flight', 'Requests being served now', () => this.inFlight);
    plain.gauge(
      'route_table_version',
      'Version of the route table in use; -1: none',
      () => this.tableVersion,
      'min',
    );
    plain.gauge(
      'route_table_age_seconds',
      'Time since a table was last accepted; -1: never',
      () => (this.tableAtMs === 0 ? -1 : (now() - this.tableAtMs) / 1000),
      'max',
    );
    plain.counter('route_table_refused_total', 'Route tables refused whole', () => this.tablesRefused);
    this.registerCounters([this.registry]);
    const all = () => [...this.byService.values()].flatMap((numbers) => [...numbers.byProtocol.values()]);
    this.registry.registerMetric(
      distribution('muster_gateway_request_seconds', 'Whole time of requests', () =>
        all().map((series) => [series, series.seconds]),
      ),
    );
    this.registry.registerMetric(
      distribution('muster_gateway_ttfb_seconds', 'Time to the response head of forwarded requests', () =>
        all().map((series) => [series, series.firstByteSeconds]),
      ),
    );
  }

  private registerCounters(registers: Registry[]): void {
    const services = () => this.byService.values();
    const labels = ['protocol', 'namespace', 'service', 'code'];
    counter(registers, 'muster_gateway_requests_total', 'Requests by outcome', labels, (c) => {
      for (const { namespace, service, byProtocol } of services()) {
        for (const { protocol, requests } of byProtocol.values()) {
          requests.forEach((count, at) => {
            if (count > 0) c.inc({ protocol, namespace, service, code: at + codeMin }, count);
          });
        }
      }
    });
    counter(registers, 'muster_gateway_retries_total', 'Further tries', ['namespace', 'service'], (c) => {
      for (const { namespace, service, retries } of services()) {
        if (retries > 0) c.inc({ namespace, service }, retries);
      }
    });
    const failureLabels = ['namespace', 'service', 'kind'];
    counter(registers, 'muster_gateway_upstream_errors_total', 'Failed tries by kind', failureLabels, (c) => {
      for (const { namespace, service, failures } of services()) {
        for (const [kind, count] of failures) c.inc({ namespace, service, kind }, count);
      }
    });
  }
}

function counter(
  registers: Registry[],
  name: string,
  help: string,
  labelNames: string[],
  fill: (counter: Counter) => void,
): void {
  new Counter({
    name,
    help,
    labelNames,
    registers,
    collect() {
      this.reset();
      fill(this);
    },
  });
}

function addSeries(numbers: ServiceNumbers, protocol: ApiProtocol): Series {
  const { namespace, service } = numbers;
  const empty = (): Distribution => ({ counts: new Float64Array(bounds.length + 1), sum: 0 });
  const series = {
    namespace,
    service,
    protocol,
    requests: new Float64Array(codeMax - codeMin + 1),
    seconds: empty(),
    firstByteSeconds: empty(),
  };
  numbers.byProtocol.set(protocol, series);
  return series;
}

function add(into: Distribution, seconds: number): void {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seconds > (bounds[middle] ?? Infinity)) low = middle + 1;
    else high = middle;
  }
  into.counts[low] = (into.counts[low] ?? 0) + 1;
  into.sum += seconds;
}

/** A histogram whose counts are ours: prom-client's own can only observe one value at a time. */
function distribution(name: string, help: string, read: () => [Series, Distribution][]): Metric {
  const values = () => {
    const out: { metricName: string; labels: Record<string, string | number>; value: number }[] = [];
    for (const [{ namespace, service, protocol }, { counts, sum }] of read()) {
      const labels = { protocol, namespace, service };
      let total = 0;
      counts.forEach((count, at) => {
        total += count;
        out.push({
          metricName: `${name}_bucket`,
          labels: { ...labels, le: bounds[at] ?? '+Inf' },
          value: total,
        });
      });
      out.push(
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: total },
      );
    }
    return out;
  };
  const metric = {
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    get: () => Promise.resolve({ name, help, type: 'histogram', aggregator: 'sum', values: values() }),
    reset: () => undefined,
  };
  return metric as unknown as Metric; // the registry needs name, get and reset of it, and no more
}
