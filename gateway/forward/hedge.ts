import type { Passage } from '../passage.ts';
import type { ForwardPlan } from './forward-plan.ts';
import type { Guard } from './guards.ts';

/**
 * When a second server is asked for the same request, milliseconds after the first; Infinity: never. A request that is
 * bound to its server, or leaves something behind there (a stored response), is never asked twice.
 */
export function hedgeDelayMs(guard: Guard, plan: ForwardPlan, passage: Passage): number {
  const { after, minimumMs } = guard.settings.hedge;
  if (after === 'never' || !plan.isRepeatable || passage.pinned !== null) return Infinity;
  if (passage.operation.head === '/v1/responses') return Infinity;
  return after === 'p95' ? Math.max(minimumMs, guard.firstBytes.percentile95()) : after;
}
