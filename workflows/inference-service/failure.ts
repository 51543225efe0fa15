import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/common';
import type { StepFailure } from '../../domain/inference-service/reconcile-failure.ts';

/**
 * What a failed activity says. Anything else is a bug of this workflow: it is thrown on, which fails the workflow
 * task and is tried again with the next build, instead of ending the entity.
 */
export function stepFailure(error: unknown): StepFailure {
  if (!(error instanceof ActivityFailure)) throw error;
  const { cause, activityType } = error;
  if (cause instanceof ApplicationFailure) {
    return { type: cause.type ?? 'internal', message: cause.message, details: cause.details ?? [] };
  }
  if (cause instanceof TimeoutFailure) {
    const last = cause.cause?.message;
    const message = `${activityType} did not finish in time${last ? `; its last failure was: ${last}` : ''}`;
    return { type: 'timeout', message, details: [] };
  }
  return { type: 'internal', message: cause?.message ?? error.message, details: [] };
}
