import type { FastifyReply, FastifyRequest } from 'fastify';
import { MusterError } from '../../domain/errors.ts';

const nothing = new Uint8Array();

/** The body's bytes. A compressed one is refused: nothing here unpacks it, and a small one may unpack to gigabytes. */
export function bodyOf(request: FastifyRequest): Uint8Array {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw new MusterError(
      'invalid_input',
      `Content-Encoding ${encoding} is not supported: send the body as it is.`,
    );
  return (request.body as Uint8Array | undefined) ?? nothing;
}

/** Aborted when the caller goes away before it has its answer. */
export function callerSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}

export function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
