import { ApplicationFailure, CancelledFailure, TemporalFailure } from '@temporalio/common';
import { MusterError, codeOf, messageOf, type ErrorCode } from '../../domain/errors.ts';

/** What another try may cure without anybody's hand. All other codes are not retried. */
const retryable: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'storage_unavailable',
  'control_unavailable',
  'temporal_unavailable',
  'timeout',
  'internal',
]);

/** An error as Temporal should see it: the type is our code, and only what may pass by itself is retried. */
export function toFailure(error: unknown): Error {
  if (error instanceof TemporalFailure) return error;
  if (isAbort(error)) return new CancelledFailure('The activity was cancelled.');
  if (error instanceof MusterError) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !retryable.has(error.code),
      ...(error.cause instanceof Error && { cause: error.cause }),
    });
  }
  const system = fromSystem(error);
  if (system) return toFailure(system);
  const message = messageOf(error);
  return ApplicationFailure.create({
    type: 'internal',
    message,
    ...(error instanceof Error && { cause: error }),
  });
}

/** The operating system's errors that have a plain meaning of ours; undefined for all others. */
export function fromSystem(error: unknown): MusterError | undefined {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new MusterError(
      'disk_full',
      "The disk of Muster's data folder is full: free some space or set MUSTER_DATA_DIR to another disk, then apply again.",
      { cause: error },
    );
  }
  return undefined;
}

function isAbort(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'AbortError';
}
