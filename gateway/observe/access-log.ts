import type { Logger } from 'pino';
import type { Passage } from '../passage.ts';

/** One line a request. The path goes without its query, which may hold anything; bodies and headers never. */
export function logPassage(
  logger: Logger,
  passage: Passage,
  status: number,
  ms: number,
  isWhole: boolean,
): void {
  const { exchange, operation, service, candidate } = passage;
  logger.info(
    {
      requestId: passage.requestId,
      method: exchange.method,
      path: exchange.path.slice(0, 512),
      status,
      bytes: exchange.bytes,
      ms: Math.round(ms * 1000) / 1000,
      protocol: operation.protocol,
      model: passage.model.slice(0, 256),
      caller: passage.caller?.id ?? '',
      tenant: passage.caller?.tenant ?? '',
      namespace: service?.route.namespace ?? '',
      service: service?.route.name ?? '',
      revision: candidate?.revision ?? '',
      endpoint: candidate?.address ?? '',
      tries: passage.tries,
      ...((passage.cache?.result ?? null) === null ? {} : { cache: passage.cache?.result }),
      ...(passage.refused === null ? {} : { refused: passage.refused }),
      ...(isWhole && !passage.isCut ? {} : { isWhole: false }),
    },
    'request',
  );
}
