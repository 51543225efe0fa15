import type { Logger } from 'pino';
import type { Caller } from '../domain/access/caller.ts';
import type { ChainCallers } from './chain/chain-callers.ts';
import type { ControlLink } from './control-proxy/control-link.ts';
import { parseOperation } from '../domain/routing/operation.ts';
import type { ApiProtocol } from '../domain/routing/operation.ts';
import { refusalBody, refusalHeaders, refusalStatus } from './errors.ts';
import type { Refusal } from './errors.ts';
import { forward } from './forward/forward.ts';
import type { ForwardDeps } from './forward/forward-deps.ts';
import type { Resilience } from './forward/resilience.ts';
import { answer } from './front/exchange.ts';
import type { Exchange } from './front/exchange.ts';
import { givenRequestId } from './front/headers.ts';
import type { GatewayLimits } from './limits.ts';
import type { AccessLog } from './observe/access-log.ts';
import type { GatewayMetrics } from './observe/metrics.ts';
import type { ModelRouting } from './model-route/model-routes.ts';
import type { StoredResponses } from './openai/stored-responses.ts';
import { Passage } from './passage.ts';
import type { Picker } from './pick/picker.ts';
import { RouteStep } from './route-step.ts';
import type { TableStore } from './route-table/table-store.ts';
import type { Flow, Step } from './step.ts';
import type { Endpoints } from './upstream/endpoints.ts';

/**
 * The way of every request: operation -> early steps (who asks) -> (body parsed) -> service, or an answer from the
 * table -> steps (may it, budget, cache, queue) -> server. Which steps there are, and their order, is app.ts's.
 */
export interface DataPathDeps {
  readonly limits: GatewayLimits;
  readonly store: TableStore;
  readonly endpoints: Endpoints;
  readonly metrics: GatewayMetrics;
  readonly accessLog: AccessLog;
  readonly logger: Logger;
  readonly version: string;
  readonly isDraining: () => boolean;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly chance: () => number;
  /** Makes the id of a request that brings none. */
  readonly makeRequestId: () => string;
  readonly picker: Picker;
  readonly resilience: Resilience;
  readonly stored: StoredResponses;
  readonly control: ControlLink;
  readonly chains: ChainCallers;
  readonly modelRoutes: ModelRouting;
  /** Before the service is known. */
  readonly early: readonly Step[];
  /** Between a service found and its server asked. */
  readonly steps: readonly Step[];
}

export class DataPath implements Flow {
  private readonly deps: DataPathDeps;
  private readonly forwardDeps: ForwardDeps;
  private readonly steps: readonly Step[];

  constructor(deps: DataPathDeps) {
    this.deps = deps;
    this.steps = [...deps.early, new RouteStep(deps), ...deps.steps];
    this.forwardDeps = {
      limits: deps.limits,
      endpoints: deps.endpoints,
      picker: deps.picker,
      guards: deps.resilience.guards,
      timer: deps.resilience.timer,
      routes: () => deps.store.current(),
      nowMs: deps.nowMs,
      chance: deps.chance,
      refuse: (passage, refusal) => {
        this.refuse(passage, refusal);
      },
      onRetry: (service) => {
        deps.metrics.ofService(service).retries += 1;
      },
      onUpstreamFailure: (service, { kind, code, message }) => {
        const { failures } = deps.metrics.ofService(service);
        failures.set(kind, (failures.get(kind) ?? 0) + 1);
        deps.logger.warn({ service: service.key, kind, code, message }, 'a try failed');
      },
      onNotContinued: ({ requestId, service }, why) => {
        deps.logger.warn({ requestId, service: service?.key, why }, 'a cut stream cannot be gone on with');
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

  refuse(passage: Passage, refusal: Refusal, protocol: ApiProtocol = passage.operation.protocol): void {
    passage.refused = refusal.code;
    const headers = [...refusalHeaders(refusal), 'x-request-id', passage.requestId];
    if (passage.responseHeaders !== null) headers.push(...passage.responseHeaders);
    answer(passage.exchange, refusalStatus(refusal), refusalBody(refusal, protocol), headers);
  }

  failed(passage: Passage, error: unknown): void {
    this.deps.logger.error(
      { err: error, requestId: passage.requestId },
      'a request failed inside the gateway',
    );
    if (passage.exchange.isStarted) passage.exchange.cut();
    else this.refuse(passage, { code: 'internal_error', message: 'The gateway failed; its log says why.' });
  }

  fork(from: Passage, exchange: Exchange): Passage {
    const { deps } = this;
    const passage = new Passage(exchange, from.requestId, from.operation, deps.nowMs(), from.caller);
    passage.entered = passage.forkedAt = from.entered;
    passage.service = from.service;
    passage.entry = from.entry;
    passage.upstreamId = from.upstreamId;
    passage.alternatives = from.alternatives;
    passage.modelRoute = from.modelRoute;
    passage.model = from.model;
    passage.namedModel = from.namedModel;
    passage.mayNameModelTwice = from.mayNameModelTwice;
    deps.metrics.inFlight += 1;
    exchange.onClose((isWhole) => {
      passage.isClosed = true;
      this.settleSteps(passage, isWhole);
      deps.metrics.inFlight -= 1;
    });
    return passage;
  }

  private open(exchange: Exchange, caller: Caller | null): Passage {
    const { deps } = this;
    const passage = new Passage(
      exchange,
      givenRequestId(exchange) ?? deps.makeRequestId(),
      (exchange.memo.operation ??= parseOperation(exchange.method, exchange.path)),
      deps.nowMs(),
      caller,
    );
    deps.metrics.inFlight += 1;
    exchange.onClose((isWhole) => {
      const goesOn = passage.cache?.outlivesClient(() => {
        this.settle(passage, isWhole);
      });
      if (goesOn !== true) this.settle(passage, isWhole);
    });
    return passage;
  }

  private send(passage: Passage): void {
    const { plan } = passage;
    const service = passage.entry ?? passage.service;
    if (service === null || plan === null) throw new Error('a request went on without a service');
    if (this.deps.metrics.inFlight > this.deps.limits.inFlightMax) {
      this.refuse(passage, busy);
      return;
    }
    forward(this.forwardDeps, passage, service, plan);
  }

  /** Last one first. */
  private settleSteps(passage: Passage, isWhole: boolean): void {
    for (let at = passage.entered - 1; at >= passage.forkedAt; at -= 1)
      this.steps[at]?.settle?.(passage, isWhole);
  }

  private settle(passage: Passage, isWhole: boolean): void {
    const { deps } = this;
    const { exchange, operation, service } = passage;
    passage.isClosed = true;
    this.settleSteps(passage, isWhole);
    const ms = deps.nowMs() - passage.startedMs;
    const isUnheard = exchange.status === 0 || passage.cache?.isUnheard === true;
    const status = isUnheard ? clientClosed : exchange.status;
    deps.metrics.inFlight -= 1;
    const numbers = deps.metrics.ofService(service);
    deps.metrics.observe(numbers, operation.protocol, status, ms, passage.firstByteMs);
    deps.accessLog.write(passage, status, ms, isWhole);
  }
}

/** nginx's status for a client that left before its answer: for metrics and logs alone. */
const clientClosed = 499;

const busy: Refusal = {
  code: 'gateway_busy',
  message: 'The gateway serves as many requests as it may: try again.',
};
