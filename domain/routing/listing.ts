import type { ApiProtocol } from './operation.ts';
import type { Load } from './pick.ts';
import { maySee } from '../access/may.ts';
import type { Scope, Viewer } from './resolve.ts';
import type { RoutedService, Routes } from './routes.ts';

/**
 * What the gateway itself says of models, from the table alone: lists, and whether one is ready. `/v1/models`
 * belongs to OpenAI and to V1 at once, so its bodies are the union of both.
 */
export interface ListedModel<E extends Load = Load> {
  /** A name that works in a request of the same scope. */
  readonly id: string;
  readonly service: RoutedService<E>;
}

/** The union of OpenAI's model object and V1's. */
export interface ModelObject {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: string;
  readonly name: string;
  readonly ready: boolean;
}

/**
 * Models by the names that a request of this scope may use. Without an explicit namespace those of other
 * namespaces are listed as `namespace/name`, which is how such a request reaches them. Names that two services
 * claim are left out: asking for one is refused. What the viewer may not see is as if it were not there.
 */
export function listModels<E extends Load>(
  routes: Routes<E>,
  scope: Scope<E>,
  speaks?: ApiProtocol,
  viewer: Viewer = null,
): ListedModel<E>[] {
  const listed: ListedModel<E>[] = [];
  for (const service of routes.services) {
    if (speaks !== undefined && !service.speaks[speaks]) continue;
    if (viewer !== null && !maySee(viewer, service)) continue;
    for (const id of namesInScope(routes, scope, service, viewer)) listed.push({ id, service });
  }
  return listed.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function namesInScope<E extends Load>(
  routes: Routes<E>,
  scope: Scope<E>,
  service: RoutedService<E>,
  viewer: Viewer,
): readonly string[] {
  if (scope.kind === 'unknown') return [];
  if (scope.kind === 'service') return scope.service === service ? service.route.models : [];
  const models = routes.byModel.get(service.route.namespace);
  const claims = (model: string): number => {
    const services = models?.get(model) ?? [];
    return viewer === null ? services.length : services.filter((one) => maySee(viewer, one)).length;
  };
  const own = service.route.models.filter((model) => claims(model) === 1);
  if (scope.namespace === service.route.namespace) return own;
  return scope.isExplicit ? [] : own.map((model) => `${service.route.namespace}/${model}`);
}

export function modelObject(id: string, service: RoutedService): ModelObject {
  const created = Math.floor(Date.parse(service.route.createdAt) / 1000);
  return {
    id,
    object: 'model',
    created: Number.isFinite(created) ? created : 0,
    owned_by: service.route.namespace,
    name: id,
    ready: service.isReady,
  };
}

/** V2 repository index entry, in Triton's words. */
export interface IndexEntry {
  readonly name: string;
  readonly version: string;
  readonly state: 'READY' | 'UNAVAILABLE';
  readonly reason: string;
}

export function indexEntry({ id, service }: ListedModel): IndexEntry {
  const state = service.isReady ? 'READY' : 'UNAVAILABLE';
  return { name: id, version: '1', state, reason: service.isReady ? '' : unreadyReason(service) };
}

/** Why a service has nothing ready, in a sentence's words. */
export function unreadyReason(service: RoutedService): string {
  const { message, state } = service.route;
  if (message !== '') return message;
  switch (state) {
    case 'Stopped':
      return 'The service is stopped';
    case 'Asleep':
      return 'The service is asleep';
    case 'Failed':
      return 'The service failed';
    case 'Loading':
      return 'The service is loading';
    case 'Serving':
      return 'No replica is ready';
  }
}
