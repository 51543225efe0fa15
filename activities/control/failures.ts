import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { ErrorCode } from '../../domain/errors.ts';
import { MusterError } from '../../domain/errors.ts';

/** Failures of the control API that another try of the same call cannot cure. */
const lasting: ReadonlySet<ErrorCode> = new Set([
  'invalid_manifest',
  'not_found',
  'conflict',
  'forbidden',
  'no_supporting_runtime',
  'runtime_not_recognized',
  'runtime_disabled',
  'invalid_predictor_spec',
  'storage_not_supported',
]);

/** A failure as workflows see it: its type is the ErrorCode, and says whether another try is worth while. */
function asFailure(error: unknown): unknown {
  if (!(error instanceof MusterError)) return error;
  const { code, message } = error;
  return ApplicationFailure.create({ type: code, message, nonRetryable: lasting.has(code), cause: error });
}

/** Activities whose failures are told by `asFailure`; what fails because it was asked to end is its cancellation. */
export function withFailures<A extends object>(activities: A): A {
  const wrapped = Object.entries(activities).map(([name, activity]) => [
    name,
    async (input: never): Promise<unknown> => {
      try {
        return await (activity as (input: never) => Promise<unknown>)(input);
      } catch (error) {
        const { cancellationSignal, cancelled } = Context.current();
        if (cancellationSignal.aborted) return await cancelled;
        throw asFailure(error);
      }
    },
  ]);
  return Object.fromEntries(wrapped) as A;
}
