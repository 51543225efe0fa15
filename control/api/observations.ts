import type { Observation } from '../../domain/control/internal-api.schema.ts';
import { revisionsInTraffic } from '../../domain/route-table/assignment.ts';
import type { StoredService } from '../store/services.ts';
import type { NodeReports } from './node-reports.ts';
import type { RoutePublisher } from './route-publisher.ts';

/** At most five a second, as the stream's contract says. */
const coalesceMs = 200;
/** Silence has no event of its own, so it is looked for. */
const silenceCheckMs = 1_000;

interface Summary {
  readonly namespace: string;
  readonly name: string;
  readonly phase: string;
  readonly transitionStatus: string;
  readonly failureReason: string;
  readonly isReady: boolean;
}

/**
 * What the observer compares, kept in memory: services with their traffic, replicas, nodes that are heard of. Tells
 * its listener of each change, a few times a second at most.
 */
export class Observations {
  readonly #reports: NodeReports;
  readonly #routes: RoutePublisher;
  readonly #services = new Map<string, Summary>();
  readonly #listeners: (() => void)[] = [];
  readonly #silence: NodeJS.Timeout;
  #runtimesVersion: number;
  #text = '';
  #timer: NodeJS.Timeout | null = null;

  constructor(
    reports: NodeReports,
    routes: RoutePublisher,
    services: readonly StoredService[],
    runtimesVersion: number,
  ) {
    this.#reports = reports;
    this.#routes = routes;
    this.#runtimesVersion = runtimesVersion;
    for (const service of services) this.#services.set(keyOf(service), summaryOf(service));
    reports.onChange(() => {
      this.touch();
    });
    routes.onTable(() => {
      this.touch();
    });
    this.#silence = setInterval(() => {
      this.touch();
    }, silenceCheckMs);
    this.#silence.unref();
    this.#text = JSON.stringify(this.current());
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  setService(service: StoredService): void {
    this.#services.set(keyOf(service), summaryOf(service));
    this.touch();
  }

  removeService(namespace: string, name: string): void {
    this.#services.delete(`${namespace}/${name}`);
    this.touch();
  }

  setRuntimesVersion(version: number): void {
    this.#runtimesVersion = version;
    this.touch();
  }

  counts(): { readonly total: number; readonly ready: number } {
    const services = [...this.#services.values()];
    return { total: services.length, ready: services.filter((service) => service.isReady).length };
  }

  current(): Observation {
    const revisions = new Map(
      this.#routes
        .assignments()
        .map((assignment) => [`${assignment.namespace}/${assignment.name}`, revisionsInTraffic(assignment)]),
    );
    return {
      services: [...this.#services.entries()]
        .map(([key, { isReady: _, ...summary }]) => ({ ...summary, revisions: revisions.get(key) ?? [] }))
        .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1)),
      replicas: this.#reports.all().flatMap(({ report }) => report.replicas),
      nodes: this.#reports.live(),
      runtimesVersion: this.#runtimesVersion,
    };
  }

  /** The newest observation as JSON. */
  get text(): string {
    return this.#text;
  }

  touch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const text = JSON.stringify(this.current());
      if (text === this.#text) return;
      this.#text = text;
      for (const listener of this.#listeners) listener();
    }, coalesceMs);
  }

  close(): void {
    clearInterval(this.#silence);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function keyOf({ object }: StoredService): string {
  return `${object.metadata.namespace ?? 'default'}/${object.metadata.name}`;
}

function summaryOf({ object, phase }: StoredService): Summary {
  const { metadata, status } = object;
  return {
    namespace: metadata.namespace ?? 'default',
    name: metadata.name,
    phase,
    transitionStatus: status?.modelStatus?.transitionStatus ?? '',
    failureReason: status?.modelStatus?.lastFailureInfo?.reason ?? '',
    isReady: status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true,
  };
}
