import type { Logger } from 'pino';
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { maySee, viewerOf } from '../../domain/access/may.ts';
import type { RankedBackend } from '../../domain/model-route/class-order.ts';
import { rankForTiers } from '../../domain/model-route/class-order.ts';
import { backendToWake, chooseBackends, isSpilled } from '../../domain/model-route/choose.ts';
import type { BackendState } from '../../domain/model-route/choose.ts';
import type { Backend, ModelRoute, ModelRoutes } from '../../domain/model-route/model-route-policy.schema.ts';
import type { ListedModel } from '../../domain/routing/listing.ts';
import type { ApiProtocol, OperationKind } from '../../domain/routing/operation.ts';
import type { Resolution, Scope, Viewer } from '../../domain/routing/resolve.ts';
import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import { tierFor } from '../admission/tier-for.ts';
import type { Passage } from '../passage.ts';
import { BackgroundWake } from './background-wake.ts';
import type { BackgroundWakeDeps } from './background-wake.ts';
import type { RoutedModel } from './routed-model.ts';
import type { ResponseTap } from '../step.ts';
import type { Endpoint } from '../upstream/endpoints.ts';

/**
 * Models that several services serve: a request that names one is sent to the service that suits its caller's tier
 * and has room; the others stand by as `passage.alternatives`, in the order in which they would be asked.
 */
export interface ModelRoutesDeps {
  readonly registry: Registry;
  readonly routes: () => Routes<Endpoint> | null;
  /** Requests with a service's servers and in its queue, by what it may have at once; null: it is not limited. */
  readonly loadOf: (key: string) => number | null;
  /** The service that keeps the stored response which a request goes on from; null: it goes on from none. */
  readonly homeOf: (passage: Passage) => string | null;
  readonly wake: BackgroundWakeDeps['wake'];
  readonly nowMs: () => number;
  readonly logger: Logger;
}

type Service = RoutedService<Endpoint>;

/** Requests that a class of backend can answer, or that ask whether one is there. */
const kinds: ReadonlySet<OperationKind> = new Set([
  ...(['openai-call', 'openai-form', 'anthropic-call', 'v1-call', 'v2-call'] as const),
  ...(['v2-read', 'v2-ready', 'model-get'] as const),
]);

export class ModelRouting {
  private readonly deps: ModelRoutesDeps;
  private byKey = new Map<string, RoutedModel>();
  private readonly waker: BackgroundWake;

  constructor(deps: ModelRoutesDeps) {
    this.deps = deps;
    this.waker = new BackgroundWake(deps);
    this.register();
  }

  /** With each new table. */
  apply(policy: ModelRoutes): void {
    const before = this.byKey;
    this.byKey = new Map();
    for (const [name, route] of Object.entries(policy)) {
      const key = `${route.namespace}/${name}`;
      const made = compile(key, name, route);
      const known = before.get(key);
      for (const [index, { service }] of route.backends.entries()) {
        const at = known?.route.backends.findIndex((backend) => backend.service === service) ?? -1;
        made.spilled[index] = known?.spilled[at] ?? false;
        made.served[index] = known?.served[at] ?? 0;
      }
      this.byKey.set(key, made);
    }
    const routes = this.deps.routes();
    this.waker.forget((key) => routes?.byKey.get(key)?.route.state === 'Asleep');
  }

  /** @returns null when the name is no such model's, as nearly always */
  find(scope: Scope<Endpoint>, model: string | null, kind: OperationKind): RoutedModel | null {
    if (this.byKey.size === 0 || model === null || scope.kind !== 'namespace' || !kinds.has(kind))
      return null;
    return this.byKey.get(`${scope.namespace}/${model}`) ?? this.byKey.get(model) ?? null;
  }

  /**
   * Sets the passage's alternatives and, once it is answered, the header that says which class answered.
   * Whether the model is there is the same in all protocols, and no reason to wake a better class.
   * @returns the service to ask, ready or not; unknown when there is none that the caller may use and that speaks the
   * protocol of what is asked of the model
   */
  resolve(passage: Passage, model: RoutedModel): Resolution<Endpoint> {
    const routes = this.deps.routes();
    const services = model.route.backends.map(({ service }) => routes?.byKey.get(service));
    const { operation } = passage;
    const viewer = viewerOf(passage.caller, operation.kind);
    const isUse = operation.kind !== 'model-get' && operation.kind !== 'v2-ready';
    const seesAll = viewer === null || maySee(viewer, model);
    const states = services.map((service, index) => {
      if (service === undefined || (isUse && !service.speaks[operation.protocol])) return null;
      if (!seesAll && !maySee(viewer, service)) return null;
      return this.stateOf(model, index, service);
    });
    const ranked = model.ranked[tierFor(passage)];
    const chosen = chooseBackends(ranked, (index) => states[index] ?? null);
    passage.modelRoute = model;
    const home = chosen.length > 1 ? this.deps.homeOf(passage) : null;
    // Only the class that answered before knows the answer.
    if (home !== null)
      chosen.sort((a, b) => Number(b.backend.service === home) - Number(a.backend.service === home));
    const [first, ...others] = chosen.map(({ index }) => services[index] as Service); // known to be there
    if (first === undefined) return { kind: 'unknown', model: model.name, candidates: [] };
    passage.alternatives = others;
    if (isUse && model.route.wake && others.length + 1 < ranked.length && first.isReady)
      this.wakeBetter(
        services,
        backendToWake(ranked, (index) => states[index] ?? null),
      );
    if (isUse) passage.tapInto(new ClassTap(passage, model));
    return { kind: 'found', service: first };
  }

  private wakeBetter(services: readonly (Service | undefined)[], better: RankedBackend | null): void {
    const service = better === null ? undefined : services[better.index];
    if (service === undefined) return;
    const { key, route } = service;
    this.waker.call({ key, namespace: route.namespace, name: route.name });
  }

  /** The names of these models beside those of the services, which they take the place of. */
  list(
    listed: ListedModel<Endpoint>[],
    scope: Scope<Endpoint>,
    speaks?: ApiProtocol,
    viewer: Viewer = null,
  ): ListedModel<Endpoint>[] {
    if (this.byKey.size === 0 || scope.kind !== 'namespace') return listed;
    const routes = this.deps.routes();
    const byId = new Map(listed.map((one) => [one.id, one]));
    for (const { key, name, route } of this.byKey.values()) {
      const isHere = route.namespace === scope.namespace;
      if (!isHere && scope.isExplicit) continue;
      const seesAll = viewer === null || maySee(viewer, { key });
      const services = route.backends
        .map(({ service }) => routes?.byKey.get(service))
        .filter((service) => service !== undefined && (speaks === undefined || service.speaks[speaks]))
        .filter((service) => seesAll || (service !== undefined && maySee(viewer, service)));
      const service = services.find((one) => one?.isReady) ?? services[0];
      const id = isHere ? name : key;
      if (service !== undefined) byId.set(id, { id, service });
    }
    return [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  private stateOf(model: RoutedModel, index: number, service: Service): BackendState {
    const { spilled, route, returnAt } = model;
    const backend = route.backends[index];
    const load = Math.max(
      this.deps.loadOf(service.key) ?? 0,
      backend === undefined ? 0 : ownLoad(backend, service),
    );
    const isOver = isSpilled(spilled[index] === true, load, route.spillAt, returnAt);
    spilled[index] = isOver;
    const isAsleep = service.route.state === 'Asleep';
    return { isReady: service.isReady, isAsleep, load, isSpilled: isOver };
  }

  private register(): void {
    const registers = [this.deps.registry];
    const all = () => this.byKey.values();
    const labelNames = ['model', 'service', 'class'];
    new Counter({
      name: 'muster_gateway_model_route_requests_total',
      help: 'Answers of models that several services serve, by the backend that answered',
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const { key: model, route, served } of all()) {
          for (const [at, { service, class: name }] of route.backends.entries())
            this.inc({ model, service, class: name }, served[at] ?? 0);
        }
      },
    });
    const { waker } = this;
    new Counter({
      name: 'muster_gateway_model_route_wakes_total',
      help: 'Calls to wake a better class of backend, by outcome',
      labelNames: ['outcome'],
      registers,
      collect() {
        this.reset();
        this.inc({ outcome: 'failed' }, waker.failures);
        this.inc({ outcome: 'called' }, waker.calls - waker.failures);
      },
    });
    new Gauge({
      name: 'muster_gateway_model_route_spilled',
      help: '1 while a backend is passed over for its load',
      labelNames,
      aggregator: 'max', // of several processes
      registers,
      collect() {
        this.reset();
        for (const { key: model, route, spilled } of all()) {
          for (const [at, { service, class: name }] of route.backends.entries())
            this.set({ model, service, class: name }, spilled[at] === true ? 1 : 0);
        }
      },
    });
  }
}

function compile(key: string, name: string, route: ModelRoute): RoutedModel {
  const returnAt = route.returnAt ?? route.spillAt * 0.8;
  return { key, name, route, ranked: rankForTiers(route), returnAt, spilled: [], served: [] };
}

/** By what the policy says that its endpoints take well. */
function ownLoad({ slotsPerEndpoint }: Backend, service: Service): number {
  if (slotsPerEndpoint === undefined) return 0;
  let inFlight = 0;
  let slots = 0;
  for (const target of service.targets) {
    if (target.percent <= 0) continue;
    for (const { load } of target.ready) {
      inFlight += load.inFlight;
      slots += slotsPerEndpoint;
    }
  }
  return slots === 0 ? 0 : inFlight / slots;
}

/** Says and counts which backend answered, which after a failover is not the one that was chosen. */
class ClassTap implements ResponseTap {
  private readonly passage: Passage;
  private readonly model: RoutedModel;

  constructor(passage: Passage, model: RoutedModel) {
    this.passage = passage;
    this.model = model;
  }

  onHead(): void {
    const { passage, model } = this;
    const index = model.route.backends.findIndex(({ service }) => service === passage.service?.key);
    const backend = model.route.backends[index];
    if (backend === undefined) return;
    model.served[index] = (model.served[index] ?? 0) + 1;
    passage.addHeader('x-muster-backend-class', backend.class);
  }

  onData(): void {
    // Nothing to see: the head says it all.
  }

  onEnd(): void {
    // Nor here.
  }
}
