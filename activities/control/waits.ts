import { Context } from '@temporalio/activity';

/**
 * Looks every `everyMs` until `look` has an answer or the time is over. Heartbeats each time, which is also how a
 * cancelled activity notices and ends.
 *
 * @returns null when the time is over
 */
export async function poll<T>(
  look: () => Promise<T | null>,
  options: { readonly everyMs: number; readonly timeoutMs: number },
): Promise<T | null> {
  const context = Context.current();
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    context.heartbeat();
    const seen = await look();
    if (seen !== null) return seen;
    const left = deadline - performance.now();
    if (left <= 0) return null;
    await context.sleep(Math.min(options.everyMs, left));
  }
}
