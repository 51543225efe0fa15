import type { ServiceName } from './operation.ts';
import type { Load } from './pick.ts';
import type { RoutedService, Routes } from './routes.ts';

/**
 * How a request finds its service. Namespace, in this order: host, path prefix, header, else `default`. A host or
 * prefix names a service, and then the model's name must belong to it and may be left out. Names are matched
 * against served model names, and against `namespace/name`. Two candidates are refused: the caller can always
 * say `namespace/name`.
 */
export interface RequestNames {
  /** Host header as it came; null when absent. */
  readonly host: string | null;
  readonly prefix: ServiceName | null;
  /** Header x-muster-namespace. */
  readonly namespace: string | null;
}

/** What host, prefix and header say: one service, or a namespace. */
export type Scope<E extends Load = Load> =
  | { readonly kind: 'service'; readonly service: RoutedService<E> }
  | { readonly kind: 'namespace'; readonly namespace: string; readonly isExplicit: boolean }
  | { readonly kind: 'unknown'; readonly name: string };

export type Resolution<E extends Load = Load> =
  | { readonly kind: 'found'; readonly service: RoutedService<E> }
  | { readonly kind: 'unknown'; readonly model: string; readonly candidates: readonly string[] }
  | { readonly kind: 'ambiguous'; readonly model: string; readonly candidates: readonly string[] }
  | { readonly kind: 'no-model' };

const candidatesMax = 10;

export function findScope<E extends Load>(routes: Routes<E>, names: RequestNames): Scope<E> {
  const hosted = names.host === null ? undefined : routes.byHost.get(hostName(names.host));
  if (names.prefix !== null) {
    const key = `${names.prefix.namespace}/${names.prefix.name}`;
    const prefixed = routes.byKey.get(key);
    // Under a service's own host there is no path to another service.
    if (prefixed === undefined || (hosted !== undefined && hosted !== prefixed))
      return { kind: 'unknown', name: key };
    return { kind: 'service', service: prefixed };
  }
  if (hosted !== undefined) return { kind: 'service', service: hosted };
  if (names.namespace !== null) return { kind: 'namespace', namespace: names.namespace, isExplicit: true };
  return { kind: 'namespace', namespace: 'default', isExplicit: false };
}

/** @param model as the request says it; null when it names none */
export function resolve<E extends Load>(
  routes: Routes<E>,
  scope: Scope<E>,
  model: string | null,
): Resolution<E> {
  if (scope.kind === 'unknown') return { kind: 'unknown', model: scope.name, candidates: [] };
  if (scope.kind === 'service') return resolveWithin(scope.service, model);
  if (model === null) return { kind: 'no-model' };
  const named = routes.byModel.get(scope.namespace)?.get(model) ?? [];
  const slash = model.indexOf('/');
  if (named.length === 1 && slash < 0 && named[0] !== undefined) return { kind: 'found', service: named[0] };
  const found = new Set([...named, ...(slash > 0 ? qualified(routes, model, slash) : [])]);
  const [only] = found;
  if (only === undefined) return { kind: 'unknown', model, candidates: elsewhere(routes, model) };
  if (found.size === 1) return { kind: 'found', service: only };
  return { kind: 'ambiguous', model, candidates: keys([...found]) };
}

function resolveWithin<E extends Load>(service: RoutedService<E>, model: string | null): Resolution<E> {
  const { models, namespace } = service.route;
  if (model === null || models.includes(model)) return { kind: 'found', service };
  const bare = model.startsWith(`${namespace}/`) ? model.slice(namespace.length + 1) : null;
  if (bare !== null && (bare === service.route.name || models.includes(bare)))
    return { kind: 'found', service };
  return { kind: 'unknown', model, candidates: models.slice(0, candidatesMax) };
}

/** `namespace/name`: the service of that name, else the services there that serve a model of that name. */
function qualified<E extends Load>(
  routes: Routes<E>,
  model: string,
  slash: number,
): readonly RoutedService<E>[] {
  const exact = routes.byKey.get(model);
  if (exact !== undefined) return [exact];
  return routes.byModel.get(model.slice(0, slash))?.get(model.slice(slash + 1)) ?? [];
}

/** The same name in other namespaces: most likely what the caller forgot to say. */
function elsewhere<E extends Load>(routes: Routes<E>, model: string): string[] {
  const found: RoutedService<E>[] = [];
  for (const models of routes.byModel.values()) found.push(...(models.get(model) ?? []));
  return keys(found);
}

function keys(services: readonly RoutedService[]): string[] {
  return services
    .map((service) => service.key)
    .sort()
    .slice(0, candidatesMax);
}

/** Host without port, lower case, without the root dot; IPv6 literals keep their brackets. */
function hostName(host: string): string {
  const lower = host.toLowerCase();
  const colon = lower.lastIndexOf(':');
  const bare = colon > lower.lastIndexOf(']') ? lower.slice(0, colon) : lower;
  return bare.endsWith('.') ? bare.slice(0, -1) : bare;
}
