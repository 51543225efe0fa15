import { anthropicErrorBody } from '../domain/anthropic/errors.ts';
import type { ApiProtocol } from '../domain/routing/operation.ts';

/**
 * Refusals: what the gateway answers itself when a request cannot be served. One value, three bodies: OpenAI's
 * `{error: {message, type, param, code}}`, as its clients' APIError reads it, KServe's `{error: text}`, and Anthropic's.
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
  /** WWW-Authenticate: how to prove who asks (RFC 6750). */
  readonly challenge?: string;
  /** Seconds after which another try makes sense, where that is known better than by the code. */
  readonly retryAfterS?: number;
}

const statuses = {
  invalid_json: 400,
  invalid_request: 400,
  model_ambiguous: 400,
  unsupported_protocol: 400,
  invalid_api_key: 401,
  invalid_internal_token: 401,
  forbidden_origin: 403,
  permission_denied: 403,
  model_not_found: 404,
  response_not_found: 404,
  unknown_url: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  request_too_large: 413,
  unsupported_encoding: 415,
  tenant_queue_full: 429,
  insufficient_quota: 429,
  rate_limit_exceeded: 429,
  header_too_large: 431,
  internal_error: 500,
  not_implemented: 501,
  upstream_failed: 502,
  upstream_garbage: 502,
  model_not_ready: 503,
  upstream_unreachable: 503,
  control_unavailable: 503,
  gateway_busy: 503,
  gateway_not_ready: 503,
  issuer_unavailable: 503,
  queue_full: 503,
  queue_displaced: 503,
  queue_timeout: 503,
  wake_queue_full: 503,
  wake_timeout: 503,
  not_cached: 504,
  upstream_timeout: 504,
} as const;

/** Seconds after which another try makes sense. */
const retryAfter: Partial<Record<RefusalCode, string>> = {
  model_not_ready: '2',
  upstream_unreachable: '1',
  control_unavailable: '2',
  gateway_busy: '1',
  gateway_not_ready: '1',
  issuer_unavailable: '2',
  wake_queue_full: '5',
  wake_timeout: '5',
};

export function refusalStatus(refusal: Refusal): number {
  return statuses[refusal.code];
}

export function refusalHeaders(refusal: Refusal): string[] {
  const seconds = refusal.retryAfterS === undefined ? retryAfter[refusal.code] : String(refusal.retryAfterS);
  const headers = seconds === undefined ? [] : ['retry-after', seconds];
  if (refusal.allow !== undefined) headers.push('allow', refusal.allow);
  if (refusal.challenge !== undefined) headers.push('www-authenticate', refusal.challenge);
  return headers;
}

export function refusalBody(refusal: Refusal, protocol: ApiProtocol): string {
  if (protocol === 'anthropic') return anthropicErrorBody(statuses[refusal.code], refusal.message);
  if (protocol !== 'openai') return JSON.stringify({ error: refusal.kserve ?? refusal.message });
  const status = statuses[refusal.code];
  const type = typeOf(refusal.code, status);
  const { message, param = null, code } = refusal;
  return JSON.stringify({ error: { message, type, param, code } });
}

/** OpenAI's words for kinds of errors. */
function typeOf(code: RefusalCode, status: number): string {
  if (code === 'insufficient_quota') return code;
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/**
 * What a stream says before it closes when its server was lost: openai clients raise it as an APIError.
 * @param sequence its number in a stream of the Responses API, whose errors are events with a name; null in others
 */
export function streamErrorEvent(refusal: Refusal, sequence: number | null = null): string {
  const body = refusalBody(refusal, 'openai');
  if (sequence === null) return `data: ${body}\n\n`;
  const { message, param = null, code } = refusal;
  const { error } = JSON.parse(body) as { error: unknown };
  const event = { type: 'error', sequence_number: sequence, code, message, param, error };
  return `event: error\ndata: ${JSON.stringify(event)}\n\n`;
}
