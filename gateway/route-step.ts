import { nobody } from '../domain/access/caller.ts';
import { isProbe, maySee, maySeeAll, viewerOf } from '../domain/access/may.ts';
import { resolve } from '../domain/routing/resolve.ts';
import type { Resolution } from '../domain/routing/resolve.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import { openAnthropic } from './anthropic/anthropic.ts';
import type { ChainCallers } from './chain/chain-callers.ts';
import type { ControlLink } from './control-proxy/control-link.ts';
import { ControlProxy } from './control-proxy/control-proxy.ts';
import type { Refusal } from './errors.ts';
import { notReady } from './forward/refusals.ts';
import { answer } from './front/exchange.ts';
import type { GatewayMetrics } from './observe/metrics.ts';
import type { StoredResponses } from './openai/stored-responses.ts';
import type { Passage } from './passage.ts';
import { planFor, upstreamPath } from './plan.ts';
import { parseBody, readFormModel } from './read-body.ts';
import {
  foreignOrigin,
  isForeign,
  noExplainer,
  noTable,
  unresolved,
  unrouted,
  wrongProtocol,
} from './refusals.ts';
import { askAll } from './repository.ts';
import type { RepositoryDeps } from './repository.ts';
import { TableAnswers, scopeOf } from './table-answers.ts';
import type { TableAnswersDeps } from './table-answers.ts';
import type { Flow, Step } from './step.ts';
import type { Endpoint } from './upstream/endpoints.ts';

/** From an operation to the service that serves it and the plan of what it is sent; or an answer at once. */
export type RouteStepDeps = TableAnswersDeps &
  RepositoryDeps & {
    readonly metrics: GatewayMetrics;
    readonly stored: StoredResponses;
    readonly control: ControlLink;
    readonly chains: ChainCallers;
  };

type Service = RoutedService<Endpoint>;

export class RouteStep implements Step {
  readonly name = 'route';
  private readonly deps: RouteStepDeps;
  private readonly table: TableAnswers;
  private readonly control: ControlProxy;

  constructor(deps: RouteStepDeps) {
    this.deps = deps;
    this.table = new TableAnswers(deps);
    this.control = new ControlProxy({ link: deps.control, limits: deps.limits });
  }

  /** @returns true when the request goes to a server; false when it was answered here */
  enter(passage: Passage, flow: Flow): boolean {
    const { operation } = passage;
    switch (operation.kind) {
      case 'openai-call':
        return this.routeParsed(passage, flow);
      case 'cache-purge':
        if (isForeign(passage.exchange.headers)) return refused(passage, flow, foreignOrigin);
        return this.routeParsed(passage, flow);
      case 'openai-form':
        return this.routeForm(passage, flow);
      case 'anthropic-call':
        return this.routeAnthropic(passage, flow);
      case 'v1-call':
      case 'v2-call':
      case 'v2-read':
      case 'v2-ready':
      case 'v1-explain':
      case 'v2-load':
      case 'v2-unload':
      case 'model-get':
        return this.routeNamed(passage, flow, operation.model);
      case 'openai-control':
        this.control.handle(passage, flow);
        return false;
      case 'openai-stored':
        return this.routeStored(passage, flow, operation.model ?? '');
      case 'metrics':
        this.answerMetrics(passage, flow);
        return false;
      case 'unknown-route':
      case 'wrong-method':
      case 'bad-path':
        return refused(passage, flow, unrouted(operation, passage.exchange.method, passage.exchange.path));
      default:
        this.table.answer(passage, flow);
        return false;
    }
  }

  private routeParsed(passage: Passage, flow: Flow): boolean {
    const parsed = parseBody(passage.exchange);
    if (parsed.kind === 'refused') return refused(passage, flow, parsed.refusal);
    passage.fields = parsed.fields;
    passage.mayNameModelTwice = parsed.mayNameModelTwice;
    const { model } = parsed.fields;
    if (model !== undefined && typeof model !== 'string')
      return refused(passage, flow, unresolved({ kind: 'no-model' }));
    return this.routeNamed(passage, flow, model ?? null);
  }

  private routeStored(passage: Passage, flow: Flow, id: string): boolean {
    const key = this.deps.stored.find(passage, id);
    const service = key === null ? undefined : this.deps.store.current()?.byKey.get(key);
    if (service === undefined || passage.caller === null || !maySee(passage.caller, service)) {
      const message = `Response with id '${id}' not found.`;
      return refused(passage, flow, { code: 'response_not_found', message });
    }
    passage.service = service;
    passage.model = service.route.name;
    return this.plan(passage, flow, service);
  }

  private routeForm(passage: Passage, flow: Flow): boolean {
    const read = readFormModel(passage.exchange);
    if (read.kind === 'refused') return refused(passage, flow, read.refusal);
    passage.mayNameModelTwice = read.isModelDoubled;
    return this.routeNamed(passage, flow, read.model);
  }

  /** From here on the request is a chat completion; only its answer is turned back. */
  private routeAnthropic(passage: Passage, flow: Flow): boolean {
    const refusal = openAnthropic(passage, this.deps.limits);
    if (refusal !== null) return refused(passage, flow, refusal);
    return this.routeNamed(passage, flow, passage.fields?.['model'] as string);
  }

  private routeNamed(passage: Passage, flow: Flow, model: string | null): boolean {
    const routes = this.deps.store.current();
    if (routes === null) return refused(passage, flow, noTable);
    passage.model = model ?? '';
    passage.namedModel = model;
    const scope = scopeOf(passage, routes);
    const shared = this.deps.modelRoutes.find(scope, model, passage.operation.kind);
    const resolution =
      shared === null
        ? resolve(routes, scope, model, viewerOf(passage.caller, passage.operation.kind))
        : this.deps.modelRoutes.resolve(passage, shared);
    if (resolution.kind !== 'found') return refused(passage, flow, unresolved(seenBy(passage, resolution)));
    passage.service = resolution.service;
    if (passage.model === '') passage.model = resolution.service.route.name;
    return this.plan(passage, flow, resolution.service);
  }

  private plan(passage: Passage, flow: Flow, service: Service): boolean {
    const { operation, exchange } = passage;
    if (operation.kind === 'model-get') {
      this.table.answerModel(passage, flow, service);
      return false;
    }
    // Whatever it speaks, its answers may be kept.
    if (operation.kind === 'cache-purge') return true;
    // Who is nobody is told what the table knows: a probe without a key asks no server, and wakes none.
    if (operation.kind === 'v2-ready' && (!service.speaks.v2 || passage.caller === nobody)) {
      this.table.answerReady(passage, flow, service);
      return false;
    }
    const entry = operation.kind === 'v1-explain' ? service.explainer : (service.transformer ?? service);
    if (entry === null) return refused(passage, flow, noExplainer(passage.model));
    if (!entry.speaks[operation.protocol])
      return refused(passage, flow, wrongProtocol(entry, operation.protocol, passage.model));
    if (operation.kind === 'v2-load' || operation.kind === 'v2-unload') {
      // A page in a browser can send these without asking; it must not take a model away.
      if (isForeign(exchange.headers)) return refused(passage, flow, foreignOrigin);
      this.fanOut(passage, flow, service);
      return false;
    }
    if (entry !== service) {
      passage.entry = entry;
      this.deps.chains.open(passage, service.key);
    }
    passage.plan = planFor(passage, entry);
    return true;
  }

  private fanOut(passage: Passage, flow: Flow, service: Service): void {
    if (service.endpoints.length === 0) {
      flow.refuse(passage, notReady(service, passage.model));
      return;
    }
    const { exchange, requestId, operation } = passage;
    askAll(this.deps, exchange, service, { path: upstreamPath(operation, service), requestId })
      .then(({ status, body, type }) => {
        answer(exchange, status, body, ['x-request-id', requestId], type);
      })
      .catch((error: unknown) => {
        flow.failed(passage, error);
      });
  }

  private answerMetrics(passage: Passage, flow: Flow): void {
    const { metrics } = this.deps;
    metrics
      .text()
      .then((text) => {
        answer(passage.exchange, 200, text, [], metrics.registry.contentType);
      })
      .catch((error: unknown) => {
        flow.failed(passage, error);
      });
  }
}

/** Of what was not found, no more than the caller may know. */
function seenBy({ caller, operation }: Passage, resolution: Unresolved): Unresolved {
  if (caller === null || maySeeAll(caller, null) || resolution.kind === 'no-model') return resolution;
  const { model } = resolution;
  if (caller === nobody && isProbe(operation.kind)) return { kind: 'unknown', model, candidates: [] };
  // A model that several services serve, none of which the caller may use.
  return resolution.kind === 'unknown' && resolution.candidates.length === 0
    ? { kind: 'forbidden', model }
    : resolution;
}

type Unresolved = Exclude<Resolution, { kind: 'found' }>;

function refused(passage: Passage, flow: Flow, refusal: Refusal): false {
  flow.refuse(passage, refusal);
  return false;
}
