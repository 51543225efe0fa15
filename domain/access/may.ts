import type { OperationKind } from '../routing/operation.ts';
import type { Scope } from './access-policy.schema.ts';
import { nobody } from './caller.ts';
import type { Caller } from './caller.ts';

/** The little of a service that permission is about. */
export interface AskedService {
  /** namespace/name */
  readonly key: string;
}

/** Which scope an operation needs; null: none, it is a probe or tells nothing of the models. */
export function scopeFor(kind: OperationKind): Scope | null {
  switch (kind) {
    case 'alive':
    case 'v2-live':
    case 'v2-server-ready':
    case 'v2-ready':
    case 'unknown-route':
    case 'wrong-method':
    case 'bad-path':
      return null;
    case 'v2-load':
    case 'v2-unload':
    case 'cache-purge':
      return 'admin';
    case 'metrics':
      return 'metrics';
    default:
      return 'infer';
  }
}

/** Probes: answered to anybody, so that a load balancer and a kubelet need no key. */
export function isProbe(kind: OperationKind): boolean {
  return kind === 'alive' || kind === 'v2-live' || kind === 'v2-server-ready' || kind === 'v2-ready';
}

/**
 * Through whose eyes names are found: a probe of nobody's is told of every service, by its name, no more than whether it
 * is ready. Whoever is somebody sees what it may ask.
 *
 * @returns null when everything is to be seen
 */
export function viewerOf(caller: Caller | null, kind: OperationKind): Caller | null {
  return caller === nobody && isProbe(kind) ? null : caller;
}

export function hasScope(caller: Pick<Caller, 'scopes'>, scope: Scope): boolean {
  const { scopes } = caller;
  return scopes.includes(scope) || scopes.includes('*');
}

/** Whether the caller may see a service at all: ask it, list it, be told its name. */
export function maySee(caller: Pick<Caller, 'models'>, service: AskedService): boolean {
  const { models } = caller;
  const { key } = service;
  for (const pattern of models) {
    if (pattern === '*' || pattern === key) return true;
    // `namespace/*`: the slash is part of what must be equal, so that `a/*` is not `ab/…`.
    if (pattern.endsWith('/*') && key.startsWith(pattern.slice(0, -1))) return true;
  }
  return false;
}

/** Whether the caller may see every service, also those to come, of a namespace (`null`: of all). */
export function maySeeAll(caller: Pick<Caller, 'models'>, namespace: string | null): boolean {
  const { models } = caller;
  return models.includes('*') || (namespace !== null && models.includes(`${namespace}/*`));
}

/** Whether the caller may do this to this service. */
export function may(
  caller: Pick<Caller, 'scopes' | 'models'>,
  service: AskedService,
  kind: OperationKind,
): boolean {
  const scope = scopeFor(kind);
  if (scope === null) return true;
  return hasScope(caller, scope) && maySee(caller, service);
}
