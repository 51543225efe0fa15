/**
 * Every failure that a caller can act on. `code` is stable and listed here once; `message` is for people, says
 * what is wrong and what to do, and may change. Edges translate the code: gateway and control API to an HTTP
 * status and the protocol's own body, activities to an ApplicationFailure type, the CLI to an exit code.
 */
export const errorCodes = [
  'invalid_manifest', // the manifest's shape or meaning is wrong
  'not_found',
  'conflict', // the object changed or is being deleted
  'unauthorized',
  'forbidden', // Host or Origin is not ours
  'temporal_unavailable', // reads work, changes wait for Temporal
  'control_unavailable', // the control API does not answer
  'no_supporting_runtime',
  'runtime_not_recognized',
  'runtime_disabled',
  'invalid_predictor_spec',
  'storage_not_supported',
  'storage_not_found',
  'storage_forbidden',
  'storage_unavailable', // network or server trouble: worth another try
  'checksum_mismatch',
  'disk_full',
  'environment_missing', // python3, venv or a package is not to be had
  'model_load_failed', // the server crashed, or did not become ready in time
  'port_in_use',
  'already_running',
  'timeout',
  'invalid_input', // an inference request's shape or meaning is wrong
  'model_not_ready',
  'not_implemented', // a part of a protocol that is not served here
  'inference_failed', // the model itself failed on this request
  'overloaded', // a bounded queue is full: try again later
  'internal',
] as const;
export type ErrorCode = (typeof errorCodes)[number];

export class MusterError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MusterError';
    this.code = code;
  }
}

/** What went wrong, in words, of anything that was thrown. */
export function messageOf(error: unknown): string {
  return hasText(error, 'message') ? error.message : String(error);
}

/**
 * `code` of a system or library error (ENOENT, ECONNREFUSED, UND_ERR_…), else undefined. Not by `instanceof`:
 * that fails for errors of another realm or of a second copy of a package.
 */
export function codeOf(error: unknown): string | undefined {
  return hasText(error, 'code') ? error.code : undefined;
}

function hasText<K extends string>(value: unknown, key: K): value is Record<K, string> {
  return (
    typeof value === 'object' && value !== null && typeof (value as Record<K, unknown>)[key] === 'string'
  );
}
