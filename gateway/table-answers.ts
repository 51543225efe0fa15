import type { Caller } from '../domain/access/caller.ts';
import { viewerOf } from '../domain/access/may.ts';
import { indexEntry, listModels, modelObject } from '../domain/routing/listing.ts';
import type { ListedModel } from '../domain/routing/listing.ts';
import type { ApiProtocol } from '../domain/routing/operation.ts';
import { findScope, resolve } from '../domain/routing/resolve.ts';
import type { Scope } from '../domain/routing/resolve.ts';
import { gatewayOpenApi } from '../domain/openapi/gateway-openapi.ts';
import type { RoutedService, Routes } from '../domain/routing/routes.ts';
import { notReady } from './forward/refusals.ts';
import { answer } from './front/exchange.ts';
import { single } from './front/headers.ts';
import type { ModelRouting } from './model-route/model-routes.ts';
import type { Passage } from './passage.ts';
import { parseBody } from './read-body.ts';
import { noTable, unresolved } from './refusals.ts';
import type { TableStore } from './route-table/table-store.ts';
import type { Flow } from './step.ts';
import type { Endpoint } from './upstream/endpoints.ts';

/** What the route table alone can say: the server's own state, lists of models, and whether one is there. */
export interface TableAnswersDeps {
  readonly store: TableStore;
  readonly version: string;
  readonly isDraining: () => boolean;
  readonly modelRoutes: ModelRouting;
}

export class TableAnswers {
  private readonly deps: TableAnswersDeps;

  constructor(deps: TableAnswersDeps) {
    this.deps = deps;
  }

  answer(passage: Passage, flow: Flow): void {
    const { kind } = passage.operation;
    if (kind === 'alive') return json(passage, { status: 'alive' });
    if (kind === 'v2-live') return json(passage, { live: true });
    if (kind === 'openapi') return json(passage, gatewayOpenApi(this.deps.version));
    if (kind === 'v2-server') return json(passage, { ...serverMetadata, version: this.deps.version });
    const routes = this.deps.store.current();
    if (routes === null || (kind === 'v2-server-ready' && this.deps.isDraining())) {
      flow.refuse(passage, noTable);
      return;
    }
    const scope = scopeOf(passage, routes);
    const { caller } = passage;
    if (scope.kind !== 'namespace') {
      const seen = resolve(routes, scope, null, viewerOf(caller, kind));
      if (seen.kind !== 'found') {
        flow.refuse(passage, unresolved(seen));
        return;
      }
    }
    if (scope.kind === 'unknown') {
      flow.refuse(passage, unresolved({ kind: 'unknown', model: scope.name, candidates: [] }));
      return;
    }
    if (scope.kind === 'service') passage.service = scope.service;
    const listed = (speaks?: ApiProtocol) =>
      this.deps.modelRoutes.list(listModels(routes, scope, speaks, caller), scope, speaks, caller);
    answerFromScope(passage, flow, scope, listed);
  }

  /** V1 calls a model that is not ready 503; OpenAI's question is only whether it exists. */
  answerModel(passage: Passage, flow: Flow, service: RoutedService<Endpoint>): void {
    const isV1 = service.speaks.v1 && !passage.exchange.path.includes('/openai/');
    if (isV1 && !service.isReady) flow.refuse(passage, notReady(service, passage.model), 'v1');
    else json(passage, modelObject(passage.model, service));
  }

  answerReady(passage: Passage, flow: Flow, service: RoutedService<Endpoint>): void {
    if (!service.isReady) flow.refuse(passage, notReady(service, passage.model));
    else json(passage, { name: passage.model, ready: true });
  }
}

const serverMetadata = { name: 'muster', extensions: ['model_repository', 'binary_tensor_data'] };

/** Where host, path, header and the caller's own namespace say to look for names. */
export function scopeOf(passage: Passage, routes: Routes<Endpoint>): Scope<Endpoint> {
  const { headers } = passage.exchange;
  return findScope(routes, {
    host: single(headers['host']),
    prefix: passage.operation.prefix,
    namespace: single(headers['x-muster-namespace']),
    home: passage.caller === null ? null : homeOf(passage.caller, routes),
  });
}

/** The namespace of a caller's own: what its key says, else the one that is called like its tenant, if there is one. */
function homeOf({ namespace, tenant }: Caller, routes: Routes<Endpoint>): string | null {
  if (namespace !== null) return namespace;
  return tenant !== '' && routes.byModel.has(tenant) ? tenant : null;
}

function answerFromScope(
  passage: Passage,
  flow: Flow,
  scope: Scope<Endpoint>,
  listed: (speaks?: ApiProtocol) => ListedModel[],
): void {
  switch (passage.operation.kind) {
    case 'v2-server-ready':
      if (scope.kind === 'service' && !scope.service.isReady)
        flow.refuse(passage, notReady(scope.service, ''));
      else json(passage, { ready: true });
      return;
    case 'v2-list':
      json(passage, { models: listed('v2').map(({ id }) => id) });
      return;
    case 'v2-index':
      answerIndex(passage, flow, listed('v2').map(indexEntry));
      return;
    default: {
      const models = listed();
      const data = models.map(({ id, service }) => modelObject(id, service));
      json(passage, { object: 'list', data, models: models.map(({ id }) => id) });
    }
  }
}

function answerIndex(passage: Passage, flow: Flow, entries: ReturnType<typeof indexEntry>[]): void {
  const { body } = passage.exchange;
  let isReadyOnly = false;
  if (body !== null && body.length > 0) {
    const parsed = parseBody(passage.exchange);
    if (parsed.kind === 'refused') {
      flow.refuse(passage, parsed.refusal);
      return;
    }
    isReadyOnly = parsed.fields['ready'] === true;
  }
  json(passage, isReadyOnly ? entries.filter(({ state }) => state === 'READY') : entries);
}

function json(passage: Passage, body: unknown): void {
  answer(passage.exchange, 200, JSON.stringify(body), ['x-request-id', passage.requestId]);
}
