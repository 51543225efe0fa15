import { CancellationScope, condition, isCancellation } from '@temporalio/workflow';

/**
 * Runs work until it is done or until `isPointless` becomes true, which cancels it: its activities are asked to
 * stop, and whatever it registered is compensated by the caller.
 *
 * @returns true when the work was done, false when it was given up
 */
export async function unless(isPointless: () => boolean, work: () => Promise<void>): Promise<boolean> {
  const working = new CancellationScope();
  const watching = new CancellationScope();
  const watched = watching
    .run(async () => {
      await condition(isPointless);
      working.cancel();
    })
    .catch(ignoreCancellation);
  try {
    await working.run(work);
    return true;
  } catch (error) {
    if (isCancellation(error) && working.consideredCancelled) return false;
    throw error;
  } finally {
    watching.cancel();
    await watched;
  }
}

/** Runs steps side by side; when one fails, the others are cancelled before the failure goes on. */
export async function together(steps: readonly (() => Promise<void>)[]): Promise<void> {
  const scope = new CancellationScope();
  await scope.run(async () => {
    const running = steps.map((step) => step());
    try {
      await Promise.all(running);
    } catch (error) {
      scope.cancel();
      await Promise.allSettled(running);
      throw error;
    }
  });
}

function ignoreCancellation(error: unknown): void {
  if (!isCancellation(error)) throw error;
}
