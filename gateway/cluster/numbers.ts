import { AggregatorRegistry } from 'prom-client';
import type { Registry } from 'prom-client';
import type { MetricJson } from './messages.ts';

/**
 * The numbers of several processes as those of one: counters and histograms add up, a gauge by its own `aggregator`
 * (its sum where it names none). A process that ended leaves its counts behind, so that no counter goes back; what it
 * counted after it last told is lost.
 */
export class Numbers {
  private readonly latest = new Map<number, readonly MetricJson[]>();
  /** Counts of processes that are no more, as one. */
  private ended: readonly MetricJson[] = [];

  set(worker: number, metrics: readonly MetricJson[]): void {
    this.latest.set(worker, metrics);
  }

  end(worker: number): void {
    const last = this.latest.get(worker);
    this.latest.delete(worker);
    if (last === undefined) return;
    const counts = last.filter(({ name, type }) => isCount(type) && !ofProcess.test(name));
    this.ended = merge([this.ended, counts]).getMetricsAsArray() as unknown as MetricJson[];
  }

  /** @param more numbers of the process that merges */
  async text(more: readonly MetricJson[] = []): Promise<string> {
    return merge([...this.latest.values(), this.ended, more]).metrics();
  }
}

const isCount = (type: string): boolean => type === 'counter' || type === 'histogram';
/** Counts of a process about itself end with it. */
const ofProcess = /^(process|nodejs)_/;

function merge(all: readonly (readonly MetricJson[])[]): Registry {
  const summed = all.map((metrics) => metrics.map((metric) => ({ aggregator: 'sum', ...metric })));
  return AggregatorRegistry.aggregate(summed);
}
