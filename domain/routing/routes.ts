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
  /** What requests come to first: the transformer, where there is one, else null. */
  readonly transformer: RoutedService<E> | null;
  readonly explainer: RoutedService<E> | null;
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
  const byHost = compileHosts(services);
  for (const service of services) addComponents(service, byKey, byHost);
  return { version: table.version, services, byKey, byHost, byModel };
}

/**
 * The components of a chain by their own names, as KServe has them: `<name>-predictor` is the predictor without its
 * transformer, for the transformer itself to ask. A service that bears such a name in earnest keeps it.
 */
function addComponents<E extends Load>(
  service: RoutedService<E>,
  byKey: Map<string, RoutedService<E>>,
  byHost: Map<string, RoutedService<E>>,
): void {
  const { transformer, explainer, route, key } = service;
  if (transformer === null && explainer === null) return;
  const predictor = { ...service, transformer: null, explainer: null };
  for (const [name, component] of Object.entries({ predictor, transformer, explainer })) {
    const ownKey = `${key}-${name}`;
    if (component !== null && !byKey.has(ownKey)) byKey.set(ownKey, component);
  }
  const begin = `${route.name}-${route.namespace}.`;
  for (const host of route.hosts) {
    const own = `${route.name}-predictor-${route.namespace}.${host.slice(begin.length)}`.toLowerCase();
    if (host.startsWith(begin) && !byHost.has(own)) byHost.set(own, predictor);
  }
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
  const transformer = compileComponent(route, 'transformer', bind);
  const explainer = compileComponent(route, 'explainer', bind);
  const predictor = compileServers(route, bind);
  const isReady = predictor.isReady && transformer?.isReady !== false;
  return { ...predictor, isReady, transformer, explainer };
}

function compileComponent<E extends Load>(
  { transformer, explainer, ...service }: ServiceRoute,
  which: 'transformer' | 'explainer',
  bind: (address: string) => E,
): RoutedService<E> | null {
  const component = { transformer, explainer }[which];
  if (component === undefined) return null;
  const { targets, protocols = service.protocols, upstreamModel = service.name } = component;
  return compileServers(
    { ...service, name: `${service.name}-${which}`, targets, protocols, upstreamModel },
    bind,
  );
}

function compileServers<E extends Load>(route: ServiceRoute, bind: (address: string) => E): RoutedService<E> {
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
    transformer: null,
    explainer: null,
    upstreamSegment: encodeURIComponent(route.upstreamModel),
    // Before a runtime is chosen, or while stopped, nobody knows: the answer is then "not ready", not "wrong protocol".
    speaks: {
      openai: route.protocols.length === 0 || route.protocols.includes('openai'),
      v1: route.protocols.length === 0 || route.protocols.includes('v1'),
      // gRPC by translation: see gateway/grpc.
      v2:
        route.protocols.length === 0 || route.protocols.includes('v2') || route.protocols.includes('grpc-v2'),
      // By translation: see domain/anthropic.
      anthropic: route.protocols.length === 0 || route.protocols.includes('openai'),
    },
  };
}
