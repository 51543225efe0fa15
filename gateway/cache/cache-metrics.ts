import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { plainMetrics } from '../observe/plain-metrics.ts';

/** How a request met the cache. */
export type CacheResult =
  | 'hit_local'
  | 'hit_shared'
  | 'hit_semantic'
  | 'hit_flight' // waited for another's answer
  | 'stale' // past its time, but no server gave a new one
  | 'miss'
  | 'refresh' // the client wanted a new answer
  | 'bypass'; // not looked up: not cacheable, or not wanted

export type UnkeptReason =
  | 'status' // an answer that is no success, and no refusal that may be kept
  | 'too_large'
  | 'no_store' // the server forbids it
  | 'encoded' // compressed, or another type than its operation's
  | 'incomplete'
  | 'error' // an error told with status 200
  | 'not_json'
  | 'cut' // the server or the client was lost on the way
  | 'mixed' // begun by one revision and ended by another
  | 'other_service' // a service that took the place of the one asked for
  | 'old_version' // it left the table, or the epoch changed, while it was being made
  | 'purged'; // its model was purged while it was being made

/** Plain numbers, read when they are scraped. Labels are names of the route table. */
export interface ServiceNumbers {
  readonly namespace: string;
  readonly service: string;
  readonly results: Record<CacheResult, number>;
  savedInputTokens: number;
  savedOutputTokens: number;
}

export interface CacheGauges {
  readonly entries: () => number;
  readonly bytes: () => number;
  readonly evictions: () => number;
  readonly flights: () => number;
  readonly waiting: () => number;
  readonly vectors: () => number;
  readonly vectorBytes: () => number;
  readonly isSharedUsable: () => boolean;
}

const servicesMax = 10_000;

export class CacheMetrics {
  readonly bypasses = new Map<string, number>();
  readonly unkept = new Map<UnkeptReason, number>();
  /** Answers kept, and of those refusals. */
  kept = 0;
  keptRefusals = 0;
  /** Requests that waited for another's answer and had to ask after all, by why. */
  readonly unservedWaits = new Map<string, number>();
  /** Requests whose client left while their answer was still wanted by others. */
  outlived = 0;
  readonly shared = { timeouts: 0, errors: 0, damaged: 0, writes: 0, droppedWrites: 0 };
  readonly semantic = { embeddings: 0, failures: 0, skipped: 0 };
  readonly purges = { local: 0, shared: 0 };
  private readonly services = new Map<string, ServiceNumbers>();

  of(namespace: string, service: string): ServiceNumbers {
    const key = `${namespace}/${service}`;
    const known = this.services.get(key);
    if (known !== undefined) return known;
    const results = {
      hit_local: 0,
      hit_shared: 0,
      hit_semantic: 0,
      hit_flight: 0,
      stale: 0,
      miss: 0,
      refresh: 0,
      bypass: 0,
    };
    const made = { namespace, service, results, savedInputTokens: 0, savedOutputTokens: 0 };
    this.services.set(key, made);
    return made;
  }

  /** With each new table: those of too many services, most of them gone, begin anew, as after a restart. */
  forgetMany(): void {
    if (this.services.size > servicesMax) this.services.clear();
  }

  count<K>(counts: Map<K, number>, key: K): void {
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  register(registry: Registry, gauges: CacheGauges): void {
    const metrics = plainMetrics(registry, 'muster_gateway_cache_');
    metrics.gauge('entries', 'Answers in memory', gauges.entries);
    metrics.gauge('bytes', 'Bytes of answers in memory', gauges.bytes);
    metrics.gauge('flights', 'Requests that others may wait for', gauges.flights);
    metrics.gauge('waiting', 'Requests that wait for the answer of another', gauges.waiting);
    metrics.gauge('vectors', 'Prompts in the semantic index', gauges.vectors);
    metrics.gauge('vector_bytes', 'Bytes of the semantic index', gauges.vectorBytes);
    metrics.gauge(
      'shared_up',
      '1 while answers are looked up in Redis',
      () => (gauges.isSharedUsable() ? 1 : 0),
      'min',
    );
    this.registerServices(registry);
    this.registerCounts(registry, gauges.evictions);
  }

  private registerServices(registry: Registry): void {
    const services = () => this.services.values();
    const labels = ['namespace', 'service'];
    counter(registry, 'requests', 'Requests by how they met the cache', [...labels, 'result'], (c) => {
      for (const { namespace, service, results } of services()) {
        for (const [result, count] of Object.entries(results)) {
          if (count > 0) c.inc({ namespace, service, result }, count);
        }
      }
    });
    counter(registry, 'saved_tokens', 'Tokens that no server had to work on', [...labels, 'kind'], (c) => {
      for (const { namespace, service, savedInputTokens, savedOutputTokens } of services()) {
        if (savedInputTokens > 0) c.inc({ namespace, service, kind: 'input' }, savedInputTokens);
        if (savedOutputTokens > 0) c.inc({ namespace, service, kind: 'output' }, savedOutputTokens);
      }
    });
  }

  private registerCounts(registry: Registry, evictions: () => number): void {
    const each = (
      name: string,
      help: string,
      label: string,
      read: () => Iterable<[string, number]>,
    ): void => {
      counter(registry, name, help, [label], (c) => {
        for (const [value, count] of read()) if (count > 0) c.inc({ [label]: value }, count);
      });
    };
    counter(registry, 'evictions', 'Answers that made room for others', [], (c) => {
      c.inc(evictions());
    });
    each('kept', 'Answers kept', 'kind', () => [
      ['answer', this.kept - this.keptRefusals],
      ['refusal', this.keptRefusals],
    ]);
    each('unkept', 'Answers that were looked at and not kept', 'reason', () => this.unkept);
    each('bypasses', 'Requests that were not looked up', 'reason', () => this.bypasses);
    each('unserved_waits', 'Requests that waited in vain', 'reason', () => this.unservedWaits);
    counter(registry, 'outlived', 'Requests that went on for others when their client left', [], (c) => {
      c.inc(this.outlived);
    });
    each('shared_events', 'What became of look-ups and writes in Redis', 'event', () =>
      Object.entries(this.shared),
    );
    each('semantic_events', 'Embeddings for the semantic cache', 'event', () =>
      Object.entries(this.semantic),
    );
    each('purged', 'Answers that were purged', 'level', () => Object.entries(this.purges));
  }
}

function counter(
  registry: Registry,
  name: string,
  help: string,
  labelNames: string[],
  fill: (counter: Counter) => void,
): void {
  new Counter({
    name: `muster_gateway_cache_${name}_total`,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      fill(this);
    },
  });
}
