import type { Logger } from 'pino';
import type { Caller } from '../domain/access/caller.ts';
import { indexEntry, listModels, modelObject } from '../domain/routing/listing.ts';
import { parseOperation } from '../domain/routing/operation.ts';
import type { ApiProtocol, Operation } from '../domain/routing/operation.ts';
import { findScope, resolve } from '../domain/routing/resolve.ts';
import type { Scope } from '../domain/routing/resolve.ts';
import type { RoutedService, Routes } from '../domain/routing/routes.ts';
import { spliceModel } from '../domain/routing/splice-model.ts';
import { refusalBody, refusalHeaders, refusalStatus } from './errors.ts';
import type { Refusal } from './errors.ts';
import { forward, notReady } from './forward/forward.ts';
import type { ForwardDeps } from './forward/forward.ts';
import { answer } from './front/exchange.ts';
import type { Exchange } from './front/exchange.ts';
import { givenRequestId, single } from './front/headers.ts';
import type { GatewayLimits } from './limits.ts';
import { logPassage } from './observe/access-log.ts';
import type { GatewayMetrics } from './observe/metrics.ts';
import { Passage } from './passage.ts';
import type { Picker } from './pick/picker.ts';
import { parseBody } from './read-body.ts';
import { foreignOrigin, isForeign, unresolved, unrouted, wrongProtocol } from './refusals.ts';
import { askAll } from './repository.ts';
import type { TableStore } from './route-table/table-store.ts';
import type { Flow, Step } from './step.ts';
import type { Endpoint, Endpoints } from './upstream/endpoints.ts';

/**
 * The way of every request: operation -> early steps (who asks) -> (body parsed) -> service, or an answer from the
 * table -> steps (may it, budget, cache, queue) -> server. Which steps there are, and their order, is app.ts's.
 */
export interface DataPathDeps {
  readonly limits: GatewayLimits;
  readonly store: TableStore;
  readonly endpoints: Endpoints;
  readonly metrics: GatewayMetrics;
  readonly logger: Logger;
  readonly version: string;
  readonly isDraining: () => boolean;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly chance: () => number;
  /** Makes the id of a request that brings none. */
  readonly makeRequestId: () => string;
  readonly picker: Picker;
  /** Before the service is known. */
  readonly early: readonly Step[];
  /** Between a service found and its server asked. */
  readonly steps: readonly Step[];
}

type Service = RoutedService<Endpoint>;

export class DataPath implements Flow {
  private readonly deps: DataPathDeps;
  private readonly forwardDeps: ForwardDeps;
  private readonly isLogging: boolean;
  private readonly steps: readonly Step[];

  constructor(deps: DataPathDeps) {
    this.deps = deps;
    this.steps = [...deps.early, { name: 'route', enter: (passage) => this.route(passage) }, ...deps.steps];
    this.isLogging = deps.logger.isLevelEnabled('info');
    this.forwardDeps = {
      limits: deps.limits,
      endpoints: deps.endpoints,
      picker: deps.picker,
      routes: () => deps.store.current(),
      nowMs: deps.nowMs,
      chance: deps.chance,
      refuse: (passage, refusal) => {
        this.refuse(passage, refusal);
      },
      onRetry: ({ route }) => {
        deps.metrics.of(route.namespace, route.name).retries += 1;
      },
      onUpstreamFailure: ({ route, key }, { kind, code, message }) => {
        const { failures } = deps.metrics.of(route.namespace, route.name);
        failures.set(kind, (failures.get(kind) ?? 0) + 1);
        deps.logger.warn({ service: key, kind, code, message }, 'a try failed');
      },
    };
  }

  /** @param caller who asks, where that is known already: requests of the gateway to itself */
  handle(exchange: Exchange, caller: Caller | null = null): void {
    this.proceed(this.open(exchange, caller));
  }

  /** A request that its front refuses before it is whole: too large, malformed. */
  refuseEarly(exchange: Exchange, refusal: Refusal): void {
    this.refuse(this.open(exchange, null), refusal);
  }

  proceed(passage: Passage): void {
    if (passage.isClosed) return;
    const { steps } = this;
    try {
      while (passage.entered < steps.length) {
        const step = steps[passage.entered];
        passage.entered += 1;
        if (step?.enter(passage, this) === false) return;
      }
      this.send(passage);
    } catch (error) {
      this.failed(passage, error);
    }
  }

  refuse(passage: Passage, refusal: Refusal): void {
    this.refuseIn(passage, refusal, passage.operation.protocol);
  }

  failed(passage: Passage, error: unknown): void {
    this.deps.logger.error(
      { err: error, requestId: passage.requestId },
      'a request failed inside the gateway',
    );
    if (passage.exchange.isStarted) passage.exchange.cut();
    else this.refuse(passage, { code: 'internal_error', message: 'The gateway failed; its log says why.' });
  }

  private open(exchange: Exchange, caller: Caller | null): Passage {
    const { deps } = this;
    const passage = new Passage(
      exchange,
      givenRequestId(exchange) ?? deps.makeRequestId(),
      parseOperation(exchange.method, exchange.path),
      deps.nowMs(),
      caller,
    );
    deps.metrics.inFlight += 1;
    exchange.onClose((isWhole) => {
      this.settle(passage, isWhole);
    });
    return passage;
  }

  /** @returns true when the request goes to a server; false when it was answered here */
  private route(passage: Passage): boolean {
    const { operation } = passage;
    switch (operation.kind) {
      case 'openai-call':
        return this.routeOpenAi(passage);
      case 'v1-call':
      case 'v2-call':
      case 'v2-read':
      case 'v2-ready':
      case 'v1-explain':
      case 'v2-load':
      case 'v2-unload':
      case 'model-get':
        return this.routeNamed(passage, operation.model);
      case 'metrics':
        this.answerMetrics(passage);
        return false;
      case 'unknown-route':
      case 'wrong-method':
      case 'bad-path':
        this.refuse(passage, unrouted(operation, passage.exchange.method, passage.exchange.path));
        return false;
      default:
        this.answerFromTable(passage);
        return false;
    }
  }

  private routeOpenAi(passage: Passage): boolean {
    const parsed = parseBody(passage.exchange);
    if (parsed.kind === 'refused') return this.refused(passage, parsed.refusal);
    passage.fields = parsed.fields;
    const { model } = parsed.fields;
    if (model !== undefined && typeof model !== 'string')
      return this.refused(passage, unresolved({ kind: 'no-model' }));
    return this.routeNamed(passage, model ?? null);
  }

  private routeNamed(passage: Passage, model: string | null): boolean {
    const routes = this.deps.store.current();
    if (routes === null) return this.refused(passage, noTable);
    passage.model = model ?? '';
    const resolution = resolve(routes, this.scope(passage, routes), model);
    if (resolution.kind !== 'found') return this.refused(passage, unresolved(resolution));
    passage.service = resolution.service;
    if (passage.model === '') passage.model = resolution.service.route.name;
    return this.plan(passage, resolution.service, model);
  }

  private plan(passage: Passage, service: Service, model: string | null): boolean {
    const { operation, exchange } = passage;
    if (operation.kind === 'model-get') {
      this.answerModel(passage, service);
      return false;
    }
    if (operation.kind === 'v2-ready' && !service.speaks.v2) {
      this.answerReady(passage, service);
      return false;
    }
    if (!service.speaks[operation.protocol])
      return this.refused(passage, wrongProtocol(service, operation.protocol, passage.model));
    if (operation.kind === 'v1-explain') return this.refused(passage, noExplainer(passage.model));
    if (operation.kind === 'v2-load' || operation.kind === 'v2-unload') {
      // A page in a browser can send these without asking; it must not take a model away.
      if (isForeign(exchange.headers)) return this.refused(passage, foreignOrigin);
      this.fanOut(passage, service);
      return false;
    }
    passage.plan = {
      path: upstreamPath(operation, service) + exchange.query,
      body: upstreamBody(exchange, operation, service, model),
      isRepeatable: true, // inference and reads alone come here
    };
    return true;
  }

  private send(passage: Passage): void {
    const { service, plan } = passage;
    if (service === null || plan === null) throw new Error('a request went on without a service');
    if (this.deps.metrics.inFlight > this.deps.limits.inFlightMax) {
      this.refuse(passage, busy);
      return;
    }
    forward(this.forwardDeps, passage, service, plan);
  }

  private refused(passage: Passage, refusal: Refusal): false {
    this.refuse(passage, refusal);
    return false;
  }

  private scope(passage: Passage, routes: Routes<Endpoint>): Scope<Endpoint> {
    const { headers } = passage.exchange;
    return findScope(routes, {
      host: single(headers['host']),
      prefix: passage.operation.prefix,
      namespace: single(headers['x-muster-namespace']) ?? passage.caller?.namespace ?? null,
    });
  }

  private fanOut(passage: Passage, service: Service): void {
    if (service.endpoints.length === 0) {
      this.refuse(passage, notReady(service, passage.model));
      return;
    }
    const { exchange, requestId, operation } = passage;
    askAll(this.deps, exchange, service, { path: upstreamPath(operation, service), requestId })
      .then(({ status, body, type }) => {
        answer(exchange, status, body, ['x-request-id', requestId], type);
      })
      .catch((error: unknown) => {
        this.failed(passage, error);
      });
  }

  /** What the table alone can say: the server's own state, and lists of models. */
  private answerFromTable(passage: Passage): void {
    const { kind } = passage.operation;
    if (kind === 'alive') return this.json(passage, 200, { status: 'alive' });
    if (kind === 'v2-live') return this.json(passage, 200, { live: true });
    if (kind === 'v2-server')
      return this.json(passage, 200, { ...serverMetadata, version: this.deps.version });
    const routes = this.deps.store.current();
    if (routes === null || (kind === 'v2-server-ready' && this.deps.isDraining())) {
      this.refuse(passage, noTable);
      return;
    }
    const scope = this.scope(passage, routes);
    if (scope.kind === 'unknown') {
      this.refuse(passage, unresolved({ kind: 'unknown', model: scope.name, candidates: [] }));
      return;
    }
    if (scope.kind === 'service') passage.service = scope.service;
    this.answerFromScope(passage, routes, scope);
  }

  private answerFromScope(passage: Passage, routes: Routes<Endpoint>, scope: Scope<Endpoint>): void {
    switch (passage.operation.kind) {
      case 'v2-server-ready':
        if (scope.kind === 'service' && !scope.service.isReady)
          this.refuse(passage, notReady(scope.service, ''));
        else this.json(passage, 200, { ready: true });
        return;
      case 'v2-list':
        this.json(passage, 200, { models: listModels(routes, scope, 'v2').map(({ id }) => id) });
        return;
      case 'v2-index':
        this.answerIndex(passage, listModels(routes, scope, 'v2').map(indexEntry));
        return;
      default: {
        const models = listModels(routes, scope);
        const data = models.map(({ id, service }) => modelObject(id, service));
        this.json(passage, 200, { object: 'list', data, models: models.map(({ id }) => id) });
      }
    }
  }

  private answerIndex(passage: Passage, entries: ReturnType<typeof indexEntry>[]): void {
    const { body } = passage.exchange;
    let isReadyOnly = false;
    if (body !== null && body.length > 0) {
      const parsed = parseBody(passage.exchange);
      if (parsed.kind === 'refused') {
        this.refuse(passage, parsed.refusal);
        return;
      }
      isReadyOnly = parsed.fields['ready'] === true;
    }
    this.json(passage, 200, isReadyOnly ? entries.filter(({ state }) => state === 'READY') : entries);
  }

  /** V1 calls a model that is not ready 503; OpenAI's question is only whether it exists. */
  private answerModel(passage: Passage, service: Service): void {
    const isV1 = service.speaks.v1 && !passage.exchange.path.includes('/openai/');
    if (isV1 && !service.isReady) {
      this.refuseIn(passage, notReady(service, passage.model), 'v1');
      return;
    }
    this.json(passage, 200, modelObject(passage.model, service));
  }

  private answerReady(passage: Passage, service: Service): void {
    if (!service.isReady) this.refuse(passage, notReady(service, passage.model));
    else this.json(passage, 200, { name: passage.model, ready: true });
  }

  private answerMetrics(passage: Passage): void {
    this.deps.metrics
      .text()
      .then((text) => {
        answer(passage.exchange, 200, text, [], this.deps.metrics.registry.contentType);
      })
      .catch((error: unknown) => {
        this.failed(passage, error);
      });
  }

  private json(passage: Passage, status: number, body: unknown): void {
    answer(passage.exchange, status, JSON.stringify(body), ['x-request-id', passage.requestId]);
  }

  private refuseIn(passage: Passage, refusal: Refusal, protocol: ApiProtocol): void {
    passage.refused = refusal.code;
    const headers = [...refusalHeaders(refusal), 'x-request-id', passage.requestId];
    if (passage.responseHeaders !== null) headers.push(...passage.responseHeaders);
    answer(passage.exchange, refusalStatus(refusal), refusalBody(refusal, protocol), headers);
  }

  private settle(passage: Passage, isWhole: boolean): void {
    const { deps } = this;
    const { exchange, operation, service } = passage;
    passage.isClosed = true;
    for (let at = passage.entered - 1; at >= 0; at -= 1) this.steps[at]?.settle?.(passage, isWhole);
    const ms = deps.nowMs() - passage.startedMs;
    const status = exchange.status === 0 ? clientClosed : exchange.status;
    deps.metrics.inFlight -= 1;
    const numbers = deps.metrics.of(service?.route.namespace ?? '', service?.route.name ?? '');
    deps.metrics.observe(numbers, operation.protocol, status, ms, passage.firstByteMs);
    if (this.isLogging) logPassage(deps.logger, passage, status, ms, isWhole);
  }
}

/** nginx's status for a client that left before its answer: for metrics and logs alone. */
const clientClosed = 499;

const serverMetadata = { name: 'muster', extensions: ['model_repository', 'binary_tensor_data'] };

const noTable: Refusal = {
  code: 'gateway_not_ready',
  message: 'The gateway has no route table yet, or is shutting down.',
  kserve: 'Server is not ready.',
};

const busy: Refusal = {
  code: 'gateway_busy',
  message: 'The gateway serves as many requests as it may: try again.',
};

function noExplainer(model: string): Refusal {
  return { code: 'not_implemented', message: `Model with name ${model} has no explainer.` };
}

/** The server's own name for the model takes the place of the caller's. */
function upstreamPath(operation: Operation, service: Service): string {
  if (operation.model === null) return operation.head;
  return operation.head + service.upstreamSegment + operation.tail;
}

/**
 * Original bytes, unless an OpenAI body must name another model. A V2 request names its model in the path only;
 * a V2 response's `model_name` stays the server's: changing it would mean taking apart each response, binary
 * ones too, for a name that clients do not read.
 */
function upstreamBody(
  exchange: Exchange,
  operation: Operation,
  service: Service,
  model: string | null,
): Uint8Array | null {
  const { body } = exchange;
  const isAsServed =
    operation.kind !== 'openai-call' || model === null || model === service.route.upstreamModel;
  return body === null || isAsServed ? body : spliceModel(body, service.route.upstreamModel);
}
