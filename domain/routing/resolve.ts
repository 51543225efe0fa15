import type { Caller } from '../access/caller.ts';
import { maySee, maySeeAll } from '../access/may.ts';
import type { ServiceName } from './operation.ts';
import type { Load } from './pick.ts';
import type { RoutedService, Routes } from './routes.ts';

/**
 * How a request finds its service. Namespace, in this order: host, path prefix, header, else `default`. A host or
 * prefix names a service, and then the model's name must belong to it and may be left out. Names are matched
 * against served model names, and against `namespace/name`. Two candidates are refused: the caller can always
 * say `namespace/name`.
 *
 * A caller is told nothing of services that it may not see: for it, names are found as if they were not there. Where
 * something might be hidden, "not there" and "not yours" are one answer.
 */
export interface RequestNames {
  /** Host header as it came; null when absent. */
  readonly host: string | null;
  readonly prefix: ServiceName | null;
  /** Header x-muster-namespace. */
  readonly namespace: string | null;
  /** The caller's own namespace, for when none of the others says one; null: `default`. */
  readonly home?: string | null;
}

/** What host, prefix and header say: one service, or a namespace. */
export type Scope<E extends Load = Load> =
  | {
      readonly kind: 'service';
      readonly service: RoutedService<E>;
      /** As the request named it: its host, or namespace/name. */
      readonly name: string;
    }
  | { readonly kind: 'namespace'; readonly namespace: string; readonly isExplicit: boolean }
  | { readonly kind: 'unknown'; readonly name: string };

export type Resolution<E extends Load = Load> =
  | { readonly kind: 'found'; readonly service: RoutedService<E> }
  | { readonly kind: 'unknown'; readonly model: string; readonly candidates: readonly string[] }
  /** It is not the caller's, or it is not there. */
  | { readonly kind: 'forbidden'; readonly model: string }
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
    return { kind: 'service', service: prefixed, name: key };
  }
  if (hosted !== undefined) return { kind: 'service', service: hosted, name: names.host ?? '' };
  if (names.namespace !== null) return { kind: 'namespace', namespace: names.namespace, isExplicit: true };
  return { kind: 'namespace', namespace: names.home ?? 'default', isExplicit: false };
}

/** What of a caller decides what it sees; null: it sees everything. */
export type Viewer = Pick<Caller, 'models'> | null;

/** @param model as the request says it; null when it names none */
export function resolve<E extends Load>(
  routes: Routes<E>,
  scope: Scope<E>,
  model: string | null,
  viewer: Viewer = null,
): Resolution<E> {
  if (scope.kind === 'unknown') return absent(scope.name, namespaceOf(scope.name), viewer);
  if (scope.kind === 'service') {
    const { service, name } = scope;
    if (viewer !== null && !maySee(viewer, service)) return { kind: 'forbidden', model: name };
    return resolveWithin(service, model);
  }
  if (model === null) return { kind: 'no-model' };
  const named = visible(routes.byModel.get(scope.namespace)?.get(model) ?? [], viewer);
  const isBare = !model.includes('/');
  if (named.length === 1 && isBare && named[0] !== undefined) return { kind: 'found', service: named[0] };
  const found = new Set([...named, ...(isBare ? [] : qualified(routes, model, viewer))]);
  const [only] = found;
  if (only === undefined) return unfound(routes, scope.namespace, model, viewer);
  if (found.size === 1) return { kind: 'found', service: only };
  return { kind: 'ambiguous', model, candidates: keys([...found]) };
}

/** Those of the services that the viewer may see; the same list where it may see all of them. */
function visible<E extends Load>(
  services: readonly RoutedService<E>[],
  viewer: Viewer,
): readonly RoutedService<E>[] {
  if (viewer === null || services.every((service) => maySee(viewer, service))) return services;
  return services.filter((service) => maySee(viewer, service));
}

type Missing = Extract<Resolution, { kind: 'unknown' | 'forbidden' }>;

/** Nothing of that name is to be seen: whether that means that nothing is there depends on what might be hidden. */
function absent(model: string, namespace: string, viewer: Viewer): Missing {
  const seesAll = viewer === null || maySeeAll(viewer, namespace);
  return seesAll ? { kind: 'unknown', model, candidates: [] } : { kind: 'forbidden', model };
}

/** A name with a slash may be meant in two namespaces: the request's, and the one that it names. */
function unfound(routes: Routes, namespace: string, model: string, viewer: Viewer): Missing {
  const here = absent(model, namespace, viewer);
  const missing =
    here.kind === 'unknown' && model.includes('/') ? absent(model, namespaceOf(model), viewer) : here;
  return missing.kind === 'forbidden'
    ? missing
    : { ...missing, candidates: elsewhere(routes, model, viewer) };
}

function namespaceOf(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key : key.slice(0, slash);
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
  viewer: Viewer,
): readonly RoutedService<E>[] {
  const slash = model.indexOf('/');
  const exact = routes.byKey.get(model);
  if (exact !== undefined && (viewer === null || maySee(viewer, exact))) return [exact];
  return visible(routes.byModel.get(model.slice(0, slash))?.get(model.slice(slash + 1)) ?? [], viewer);
}

/** The same name in other namespaces: most likely what the caller forgot to say. */
function elsewhere(routes: Routes, model: string, viewer: Viewer): string[] {
  const found: RoutedService[] = [];
  for (const models of routes.byModel.values()) found.push(...visible(models.get(model) ?? [], viewer));
  return keys(found);
}

function keys(services: readonly RoutedService[]): string[] {
  return services
    .map((service) => service.key)
    .sort()
    .slice(0, candidatesMax);
}

/** Nearly all requests come with the same host: its name is not made anew each time. */
let lastHost = '';
let lastName = '';

/** Host without port, lower case, without the root dot; IPv6 literals keep their brackets. */
export function hostName(host: string): string {
  if (host === lastHost) return lastName;
  const lower = host.toLowerCase();
  const colon = lower.lastIndexOf(':');
  const bare = colon > lower.lastIndexOf(']') ? lower.slice(0, colon) : lower;
  lastName = bare.endsWith('.') ? bare.slice(0, -1) : bare;
  lastHost = host;
  return lastName;
}
