import type { Logger } from 'pino';
import { indexEntry, listModels, modelObject } from '../domain/routing/listing.ts';
import { parseOperation } from '../domain/routing/operation.ts';
import type { Operation } from '../domain/routing/operation.ts';
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
import type { Passage } from './passage.ts';
import { parseBody } from './read-body.ts';
import { foreignOrigin, isForeign, unresolved, unrouted, wrongProtocol } from './refusals.ts';
import { askAll } from './repository.ts';
import type { TableStore } from './route-table/table-store.ts';
import type { Endpoint, Endpoints } from './upstream/endpoints.ts';

/**
 * The way of every request: operation -> (body parsed) -> service -> server, or an answer from the table. Later
 * steps of the design (key and tenant, budget, cache, admission) have their place in `admit`, between a service
 * found and its server asked; what must be settled at the end has it in `settle`.
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
}

type Service = RoutedService<Endpoint>;

export class DataPath {
  private readonly deps: DataPathDeps;
  private readonly forwardDeps: ForwardDeps;
  private readonly isLogging: boolean;

  constructor(deps: DataPathDeps) {
    this.deps = deps;
    this.isLogging = deps.logger.isLevelEnabled('info');
    this.forwardDeps = {
      limits: deps.limits,
      endpoints: deps.endpoints,
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

  handle(exchange: Exchange): void {
    const passage = this.open(exchange);
    try {
      this.route(passage);
    } catch (error) {
      this.failed(passage, error);
    }
  }

  /** A request that its front refuses before it is whole: too large, malformed. */
  refuseEarly(exchange: Exchange, refusal: Refusal): void {
    this.refuse(this.open(exchange), refusal);
  }

  private open(exchange: Exchange): Passage {
    const { deps } = this;
    const passage: Passage = {
      exchange,
      requestId: givenRequestId(exchange) ?? deps.makeRequestId(),
      operation: parseOperation(exchange.method, exchange.path),
      startedMs: deps.nowMs(),
      firstByteMs: -1,
      service: null,
      model: '',
      candidate: null,
      tries: 0,
      refused: null,
      isCut: false,
    };
    deps.metrics.inFlight += 1;
    exchange.onClose((isWhole) => {
      this.settle(passage, isWhole);
    });
    return passage;
  }

  private route(passage: Passage): void {
    const { operation } = passage;
    switch (operation.kind) {
      case 'openai-call':
        this.routeOpenAi(passage);
        return;
      case 'v1-call':
      case 'v2-call':
      case 'v2-read':
      case 'v2-ready':
      case 'v1-explain':
      case 'v2-load':
      case 'v2-unload':
      case 'model-get':
        this.routeNamed(passage, operation.model);
        return;
      case 'metrics':
        this.answerMetrics(passage);
        return;
      case 'unknown-route':
      case 'wrong-method':
      case 'bad-path':
        this.refuse(passage, unrouted(operation, passage.exchange.method, passage.exchange.path));
        return;
      default:
        this.answerFromTable(passage);
    }
  }

  private routeOpenAi(passage: Passage): void {
    const parsed = parseBody(passage.exchange);
    if (parsed.kind === 'refused') {
      this.refuse(passage, parsed.refusal);
      return;
    }
    const { model } = parsed.fields;
    if (model !== undefined && typeof model !== 'string') {
      this.refuse(passage, unresolved({ kind: 'no-model' }));
      return;
    }
    this.routeNamed(passage, model ?? null);
  }

  private routeNamed(passage: Passage, model: string | null): void {
    const routes = this.deps.store.current();
    if (routes === null) {
      this.refuse(passage, noTable);
      return;
    }
    passage.model = model ?? '';
    const resolution = resolve(routes, this.scope(passage, routes), model);
    if (resolution.kind !== 'found') {
      this.refuse(passage, unresolved(resolution));
      return;
    }
    passage.service = resolution.service;
    if (passage.model === '') passage.model = resolution.service.route.name;
    this.serve(passage, resolution.service, model);
  }

  private serve(passage: Passage, service: Service, model: string | null): void {
    const { operation, exchange } = passage;
    if (operation.kind === 'model-get') {
      this.answerModel(passage, service);
      return;
    }
    if (operation.kind === 'v2-ready' && !service.speaks.v2) {
      this.answerReady(passage, service);
      return;
    }
    if (!service.speaks[operation.protocol]) {
      this.refuse(passage, wrongProtocol(service, operation.protocol, passage.model));
      return;
    }
    if (operation.kind === 'v1-explain') {
      this.refuse(passage, noExplainer(passage.model));
      return;
    }
    if (operation.kind === 'v2-load' || operation.kind === 'v2-unload') {
      // A page in a browser can send these without asking; it must not take a model away.
      if (isForeign(exchange.headers)) {
        this.refuse(passage, foreignOrigin);
        return;
      }
      this.fanOut(passage, service);
      return;
    }
    this.admit(passage, service, {
      path: upstreamPath(operation, service) + exchange.query,
      body: upstreamBody(exchange, operation, service, model),
      isRepeatable: true, // inference and reads alone come here
    });
  }

  private admit(passage: Passage, service: Service, plan: Parameters<typeof forward>[3]): void {
    if (this.deps.metrics.inFlight > this.deps.limits.inFlightMax) {
      this.refuse(passage, busy);
      return;
    }
    forward(this.forwardDeps, passage, service, plan);
  }

  private scope(passage: Passage, routes: Routes<Endpoint>): Scope<Endpoint> {
    const { headers } = passage.exchange;
    return findScope(routes, {
      host: single(headers['host']),
      prefix: passage.operation.prefix,
      namespace: single(headers['x-muster-namespace']),
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
      this.refuse(passage, notReady(service, passage.model), 'v1');
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

  private refuse(passage: Passage, refusal: Refusal, protocol = passage.operation.protocol): void {
    passage.refused = refusal.code;
    const headers = [...refusalHeaders(refusal), 'x-request-id', passage.requestId];
    answer(passage.exchange, refusalStatus(refusal), refusalBody(refusal, protocol), headers);
  }

  private failed(passage: Passage, error: unknown): void {
    this.deps.logger.error(
      { err: error, requestId: passage.requestId },
      'a request failed inside the gateway',
    );
    if (passage.exchange.isStarted) passage.exchange.cut();
    else this.refuse(passage, { code: 'internal_error', message: 'The gateway failed; its log says why.' });
  }

  private settle(passage: Passage, isWhole: boolean): void {
    const { deps } = this;
    const { exchange, operation, service } = passage;
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
