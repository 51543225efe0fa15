import type { ErrorCode } from '../errors.ts';
import type { LastFailureInfo } from './inference-service.schema.ts';

/** What is known of a failed activity: the parts of an ApplicationFailure that matter, as plain data. */
export interface StepFailure {
  /** An ErrorCode, or whatever type an unforeseen error had. */
  readonly type: string;
  readonly message: string;
  readonly details: readonly unknown[];
}

type Reason =
  | 'ModelLoadFailed'
  | 'RuntimeUnhealthy'
  | 'RuntimeDisabled'
  | 'NoSupportingRuntime'
  | 'RuntimeNotRecognized'
  | 'InvalidPredictorSpec';

const reasons: Partial<Record<string, Reason>> = {
  no_supporting_runtime: 'NoSupportingRuntime',
  runtime_not_recognized: 'RuntimeNotRecognized',
  runtime_disabled: 'RuntimeDisabled',
  invalid_predictor_spec: 'InvalidPredictorSpec',
  invalid_manifest: 'InvalidPredictorSpec',
  storage_not_supported: 'InvalidPredictorSpec',
  environment_missing: 'RuntimeUnhealthy',
  port_in_use: 'RuntimeUnhealthy',
} satisfies Partial<Record<ErrorCode, Reason>>;

const messageLimit = 4096;

/**
 * KServe's lastFailureInfo for a step that failed. The activity's own details win (it saw the server's exit code
 * and last words); else the reason follows from the error code, and what is not foreseen counts as a model that
 * could not be loaded, KServe's general reason.
 */
export function failureInfo(
  failure: StepFailure,
  revision: string | null,
  location: string,
  time: string,
): LastFailureInfo {
  const given = failure.details[0];
  const details = typeof given === 'object' && given !== null ? (given as Partial<LastFailureInfo>) : {};
  return {
    location: text(details.location) ?? location,
    reason: text(details.reason) ?? reasons[failure.type] ?? 'ModelLoadFailed',
    message: (text(details.message) ?? failure.message).slice(0, messageLimit),
    ...(revision === null ? {} : { modelRevisionName: revision }),
    time: text(details.time) ?? time,
    ...(typeof details.exitCode === 'number' ? { exitCode: details.exitCode } : {}),
  };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
