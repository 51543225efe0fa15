import type { Operation } from '../domain/routing/operation.ts';
import { spliceFormModel } from '../domain/routing/multipart-model.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import { spliceModel } from '../domain/routing/splice-model.ts';
import { indexOfByte } from './as-buffer.ts';
import type { ForwardPlan } from './forward/forward-plan.ts';
import { single } from './front/headers.ts';
import type { Passage } from './passage.ts';

/**
 * What goes to a server of this service: its path and body, with the name that the service itself knows the model by.
 * Called once for the service that was found, and again for each service that takes its place.
 */
export function planFor(passage: Passage, service: RoutedService): ForwardPlan {
  return {
    path: upstreamPath(passage.operation, service) + passage.exchange.query,
    body: upstreamBody(passage, service),
    // Inference and reads; deleting and cancelling what a server keeps are the only others that come here.
    isRepeatable: passage.operation.kind !== 'openai-stored' || passage.exchange.method === 'GET',
  };
}

/** The server's own name for the model takes the place of the caller's. */
export function upstreamPath(operation: Operation, service: RoutedService): string {
  if (operation.model === null || operation.kind === 'openai-stored') return operation.head;
  return operation.head + service.upstreamSegment + operation.tail;
}

/**
 * Original bytes, unless an OpenAI body must name another model. A V2 request names its model in the path only;
 * a V2 response's `model_name` stays the server's: changing it would mean taking apart each response, binary
 * ones too, for a name that clients do not read.
 */
function upstreamBody(passage: Passage, service: RoutedService): Uint8Array | null {
  const { body, namedModel, operation } = passage;
  const { upstreamModel } = service.route;
  if (body === null || namedModel === null) return body;
  if (namedModel === upstreamModel && !passage.mayNameModelTwice) return body;
  switch (operation.kind) {
    case 'openai-call':
    case 'anthropic-call':
      return spliceModel(body, upstreamModel, indexOfByte);
    case 'openai-form':
      return spliceFormModel(body, single(passage.exchange.headers['content-type']) ?? '', upstreamModel);
    default:
      return body;
  }
}
