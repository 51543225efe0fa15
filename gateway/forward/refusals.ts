import { unreadyReason } from '../../domain/routing/listing.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Refusal, RefusalCode } from '../errors.ts';
import type { UpstreamFailure } from '../upstream/upstream.ts';

/** What a client is told of a server that failed it. The failure's own message may hold addresses: that is for the log. */
export function failureRefusal(service: RoutedService, model: string, failure: UpstreamFailure): Refusal {
  const name = model === '' ? service.route.name : model;
  const { code, what } = failureWords[failure.kind];
  return { code, message: `The server of model '${name}' ${what} (${failure.code}).` };
}

const failureWords: Record<UpstreamFailure['kind'], { code: RefusalCode; what: string }> = {
  refused: { code: 'upstream_unreachable', what: 'cannot be reached' },
  reset: { code: 'upstream_failed', what: 'broke the connection' },
  timeout: { code: 'upstream_timeout', what: 'did not answer in time' },
  garbage: { code: 'upstream_garbage', what: 'sent something that is not HTTP' },
};

export function notReady(service: RoutedService, model: string): Refusal {
  const name = model === '' ? service.route.name : model;
  const reason = unreadyReason(service).replace(/\.$/, '');
  const kserve = `Model with name ${name} is not ready. ${reason}.`;
  return { code: 'model_not_ready', message: `The model '${name}' is not ready. ${reason}.`, kserve };
}

/** An answer that cannot be trusted to be whole, whatever its connection did. */
export function broken(code: string, message: string): UpstreamFailure {
  return { kind: 'reset', code, message };
}
