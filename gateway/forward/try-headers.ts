import { answerKind, isResponsesCall } from '../../domain/resilience/continuation.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { passedAuthorization } from '../access/passed-authorization.ts';
import { commonHeaders, plainHeaders } from '../front/headers.ts';
import type { Passage } from '../passage.ts';
import type { CommonHeaders } from '../upstream/upstream.ts';

/** Of a request's headers, those that every server is sent. An answer that is read on its way comes uncompressed. */
export function sharedHeaders({ exchange, isStream, operation }: Passage): CommonHeaders {
  const isRead =
    operation.kind === 'openai-stored' ||
    operation.kind === 'anthropic-call' ||
    (isStream && (answerKind(operation.head) !== null || isResponsesCall(operation)));
  return isRead ? plainHeaders(exchange) : commonHeaders(exchange);
}

/** @param headers the try's own @returns with them what this service alone is sent */
export function withAuthorization(
  headers: readonly string[],
  { exchange, caller }: Passage,
  service: RoutedService,
): readonly string[] {
  const authorization = passedAuthorization(exchange, caller, service);
  return authorization === null ? headers : [...headers, 'authorization', authorization];
}
