import { STATUS_CODES } from 'node:http';
import type { Problem } from '../../domain/control/problem.schema.ts';
import type { ErrorCode } from '../../domain/errors.ts';
import { MusterError } from '../../domain/errors.ts';
import type { FieldError } from './zod-sentences.ts';

export const problemType = 'application/problem+json';

/** HTTP status of each code, as the control API answers it. */
const statusOf: Readonly<Record<ErrorCode, number>> = {
  invalid_manifest: 422,
  not_found: 404,
  conflict: 409,
  unauthorized: 401,
  forbidden: 403,
  temporal_unavailable: 503,
  control_unavailable: 503,
  no_supporting_runtime: 422,
  runtime_not_recognized: 422,
  runtime_disabled: 422,
  invalid_predictor_spec: 422,
  storage_not_supported: 422,
  storage_not_found: 422,
  storage_forbidden: 422,
  storage_unavailable: 503,
  checksum_mismatch: 422,
  disk_full: 507,
  environment_missing: 422,
  model_load_failed: 422,
  port_in_use: 500,
  already_running: 409,
  timeout: 504,
  invalid_input: 400,
  model_not_ready: 503,
  not_implemented: 501,
  inference_failed: 500,
  overloaded: 503,
  internal: 500,
};

/** A refusal that names the wrong fields. */
export class FieldsError extends MusterError {
  readonly fields: readonly FieldError[];
  /** 422 for a body, 400 for a path or a query. */
  readonly status: number;

  constructor(fields: readonly FieldError[], status = 422) {
    super('invalid_manifest', detailOf(fields));
    this.name = 'FieldsError';
    this.fields = fields;
    this.status = status;
  }
}

function detailOf(fields: readonly FieldError[]): string {
  const first = fields[0]?.message ?? 'The body is wrong';
  const more = fields.length - 1;
  return more > 0 ? `${first} (and ${more} more)` : first;
}

/** The answer to any error; what is not meant for a caller becomes a plain 500. */
export function problemOf(error: unknown): Problem {
  if (error instanceof FieldsError) {
    return problem(error.code, error.message, error.status, error.fields);
  }
  if (error instanceof MusterError) return problem(error.code, error.message, statusOf[error.code]);
  const status = clientStatus(error);
  if (status !== null) return problem('invalid_input', wordsFor(status, error), status);
  return problem('internal', 'The control API failed on this request; its log has the reason.', 500);
}

function problem(
  code: ErrorCode,
  detail: string,
  status: number,
  fields: readonly FieldError[] = [],
): Problem {
  return {
    type: `urn:muster:problem:${code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    code,
    ...(fields.length === 0 ? {} : { errors: fields.map(({ path, message }) => ({ path, message })) }),
  };
}

/** Fastify's own refusals (bad JSON, too large, wrong media type) carry a status below 500. */
function clientStatus(error: unknown): number | null {
  if (!(error instanceof Error) || !('statusCode' in error)) return null;
  const status = error.statusCode;
  return typeof status === 'number' && status >= 400 && status < 500 ? status : null;
}

function wordsFor(status: number, error: unknown): string {
  if (status === 413) return 'The body is larger than 4 MiB.';
  if (status === 415) return 'Send the body as JSON, with content-type application/json.';
  const words = error instanceof Error ? error.message : 'The request is wrong';
  return words.endsWith('.') ? words : `${words}.`;
}
