import type { ErrorCode } from '../../domain/errors.ts';

/** What the shell gets; documented in `muster --help`. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  alreadyRunning: 3,
  notFound: 4,
  refused: 5,
  unreachable: 6,
} as const;

/** A failure that is meant for the person at the terminal: one line that says what is wrong and what to do. */
export class CliError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = exitCodes.failed, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CliError';
    this.exitCode = exitCode;
  }
}

const byCode: Partial<Record<ErrorCode, number>> = {
  invalid_manifest: exitCodes.refused,
  invalid_input: exitCodes.refused,
  no_supporting_runtime: exitCodes.refused,
  runtime_not_recognized: exitCodes.refused,
  runtime_disabled: exitCodes.refused,
  invalid_predictor_spec: exitCodes.refused,
  storage_not_supported: exitCodes.refused,
  not_found: exitCodes.notFound,
  temporal_unavailable: exitCodes.unreachable,
  control_unavailable: exitCodes.unreachable,
  timeout: exitCodes.unreachable,
  port_in_use: exitCodes.alreadyRunning,
  already_running: exitCodes.alreadyRunning,
};

/** @param code an ErrorCode; codes of a newer server are unknown here and count as plain failures */
export function exitCodeOf(code: string): number {
  return byCode[code as ErrorCode] ?? exitCodes.failed;
}
