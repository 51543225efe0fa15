import type { ApiProtocol } from '../domain/routing/operation.ts';

/**
 * Refusals: what the gateway answers itself when a request cannot be served. One value, two bodies: OpenAI's
 * `{error: {message, type, param, code}}`, as its clients' APIError reads it, and KServe's `{error: text}`.
 * The code is stable; the message is for people.
 */
export type RefusalCode = keyof typeof statuses;

export interface Refusal {
  readonly code: RefusalCode;
  readonly message: string;
  /** KServe's own text, where it has one. */
  readonly kserve?: string;
  /** OpenAI's `param`: the field of the body that is wrong. */
  readonly param?: string;
  readonly allow?: string;
}

const statuses = {
  invalid_json: 400,
  invalid_request: 400,
  model_ambiguous: 400,
  unsupported_protocol: 400,
  forbidden_origin: 403,
  model_not_found: 404,
  unknown_url: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  request_too_large: 413,
  unsupported_encoding: 415,
  header_too_large: 431,
  internal_error: 500,
  not_implemented: 501,
  upstream_failed: 502,
  upstream_garbage: 502,
  model_not_ready: 503,
  upstream_unreachable: 503,
  gateway_busy: 503,
  gateway_not_ready: 503,
  upstream_timeout: 504,
} as const;

/** Seconds after which another try makes sense. */
const retryAfter: Partial<Record<RefusalCode, string>> = {
  model_not_ready: '2',
  upstream_unreachable: '1',
  gateway_busy: '1',
  gateway_not_ready: '1',
};

export function refusalStatus(refusal: Refusal): number {
  return statuses[refusal.code];
}

export function refusalHeaders(refusal: Refusal): string[] {
  const seconds = retryAfter[refusal.code];
  const headers = seconds === undefined ? [] : ['retry-after', seconds];
  if (refusal.allow !== undefined) headers.push('allow', refusal.allow);
  return headers;
}

export function refusalBody(refusal: Refusal, protocol: ApiProtocol): string {
  if (protocol !== 'openai') return JSON.stringify({ error: refusal.kserve ?? refusal.message });
  const status = statuses[refusal.code];
  const type = status >= 500 ? 'server_error' : 'invalid_request_error';
  const { message, param = null, code } = refusal;
  return JSON.stringify({ error: { message, type, param, code } });
}

/** What a stream says before it closes when its server was lost: openai clients raise it as an APIError. */
export function streamErrorEvent(refusal: Refusal): string {
  return `\n\ndata: ${refusalBody(refusal, 'openai')}\n\n`;
}
