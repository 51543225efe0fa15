import type { RouteTable, ServiceRoute } from '../route-table/route-table.schema.ts';
import type { ApiProtocol } from './operation.ts';
import type { Candidate, Load, PickTarget } from './pick.ts';

/**
 * A route table compiled into maps, so that a request costs look-ups and never a walk over the services.
 * `bind` gives the live state of an address; it outlives tables, so counts of requests in flight go on.
 */
export interface RoutedService<E extends Load = Load> {
  readonly route: ServiceRoute;
  /** namespace/name */
  readonly key: string;
  readonly targets: readonly PickTarget<E>[];
  /** Every endpoint, ready or not, each address once. */
  readonly endpoints: readonly Candidate<E>[];
  readonly isReady: boolean;
  /** The server's own name for the model, as a path segment. */
  readonly upstreamSegment: string;
  readonly speaks: Readonly<Record<ApiProtocol, boolean>>;
}

export interface Routes<E extends Load = Load> {
  readonly version: number;
  /** Sorted by namespace and name. */
  readonly services: readonly RoutedService<E>[];
  readonly byKey: ReadonlyMap<string, RoutedService<E>>;
  readonly byHost: ReadonlyMap<string, RoutedService<E>>;
  /** namespace -> model name -> the services that answer to it, most often one. */
  readonly byModel: ReadonlyMap<string, ReadonlyMap<string, readonly RoutedService<E>[]>>;
}

/** @throws Error when two services have one name: such a table cannot be meant */
export function compileRoutes<E extends Load>(table: RouteTable, bind: (address: string) => E): Routes<E> {
  const services = table.services.map((route) => compileService(route, bind));
  services.sort((a, b) => (a.key < b.key ? -1 : 1));
  const byKey = new Map<string, RoutedService<E>>();
  const byModel = new Map<string, Map<string, RoutedService<E>[]>>();
  for (const service of services) {
    if (byKey.has(service.key)) throw new Error(`two services are called ${service.key}`);
    byKey.set(service.key, service);
    const models = byModel.get(service.route.namespace) ?? new Map<string, RoutedService<E>[]>();
    byModel.set(service.route.namespace, models);
    for (const model of new Set(service.route.models))
      models.set(model, [...(models.get(model) ?? []), service]);
  }
  return { version: table.version, services, byKey, byHost: compileHosts(services), byModel };
}

/** A host that two services claim names neither: guessing would hand one tenant's requests to another. */
function compileHosts<E extends Load>(services: readonly RoutedService<E>[]): Map<string, RoutedService<E>> {
  const byHost = new Map<string, RoutedService<E>>();
  const contested = new Set<string>();
  for (const service of services) {
    for (const host of new Set(service.route.hosts.map((h) => h.toLowerCase()))) {
      if (byHost.has(host)) contested.add(host);
      byHost.set(host, service);
    }
  }
  for (const host of contested) byHost.delete(host);
  return byHost;
}

function compileService<E extends Load>(route: ServiceRoute, bind: (address: string) => E): RoutedService<E> {
  const endpoints = new Map<string, Candidate<E>>();
  const targets = route.targets.map((target) => {
    const ready: Candidate<E>[] = [];
    for (const { address, revision, ready: isReady } of target.endpoints) {
      const candidate = { address, revision, load: bind(address) };
      if (!endpoints.has(address)) endpoints.set(address, candidate);
      if (isReady) ready.push(candidate);
    }
    return { percent: target.percent, ready };
  });
  return {
    route,
    key: `${route.namespace}/${route.name}`,
    targets,
    endpoints: [...endpoints.values()],
    isReady: targets.some((target) => target.percent > 0 && target.ready.length > 0),
    upstreamSegment: encodeURIComponent(route.upstreamModel),
    // Before a runtime is chosen, or while stopped, nobody knows: the answer is then "not ready", not "wrong protocol".
    speaks: {
      openai: route.protocols.length === 0 || route.protocols.includes('openai'),
      v1: route.protocols.length === 0 || route.protocols.includes('v1'),
      v2: route.protocols.length === 0 || route.protocols.includes('v2'),
      // By translation: see domain/anthropic.
      anthropic: route.protocols.length === 0 || route.protocols.includes('openai'),
    },
  };
}
