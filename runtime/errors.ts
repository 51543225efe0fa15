import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { ErrorCode } from '../domain/errors.ts';
import { MusterError } from '../domain/errors.ts';

const statuses: Readonly<Partial<Record<ErrorCode, number>>> = {
  invalid_input: 400,
  not_found: 404,
  model_not_ready: 503,
  model_load_failed: 503,
  overloaded: 503,
  not_implemented: 501,
  inference_failed: 500,
  timeout: 504,
};

/** HTTP status and words of any error that a route threw. */
export function describeError(error: unknown): { status: number; message: string } {
  if (error instanceof MusterError) return { status: statuses[error.code] ?? 500, message: error.message };
  const { code, statusCode, name, message } = error as FastifyError;
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return { status: 413, message: 'The request body is too large for this server (--max_body_bytes).' };
  if (statusCode !== undefined && statusCode < 500) return { status: statusCode, message };
  return { status: 500, message: `${name} : ${message}` };
}

/** KServe's error body, `{"error": "<text>"}`. */
export function answerKServeError(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const { status, message } = prepare(error, request, reply);
  return reply.code(status).send({ error: message });
}

/** OpenAI's error body, as its clients read it. */
export function answerOpenAiError(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const { status, message } = prepare(error, request, reply);
  const code = status === 404 ? 'model_not_found' : null;
  const type = status < 500 ? 'invalid_request_error' : 'server_error';
  return reply.code(status).send({ error: { message, type, param: null, code } });
}

function prepare(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const described = describeError(error);
  if (described.status === 503) reply.header('retry-after', '1');
  if (described.status === 500) request.log.error({ err: error, url: request.url }, 'request failed');
  return described;
}
