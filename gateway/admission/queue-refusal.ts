import { retryAfterS } from '../../domain/qos/drain-rate.ts';
import { tiers } from '../../domain/qos/tier.ts';
import type { Tier } from '../../domain/qos/tier.ts';
import type { TierWeights } from '../../domain/qos/qos-policy.schema.ts';
import type { Refusal } from '../errors.ts';
import type { QueueRefusal } from './admission-metrics.ts';
import type { Gate } from './gate.ts';

const words: Record<QueueRefusal, string> = {
  tenant_queue_full: 'has as many requests waiting as one tenant may: send the next when some are answered',
  queue_full: 'has as many requests waiting as it may: try again later',
  queue_displaced: 'needed the place of this waiting request for a more urgent one: try again later',
  queue_timeout: 'did not come to this request within the time that it may wait: try again later',
};

/** The refusal, with the time after which those who wait now will be through at the pace of the last seconds. */
export function queueRefusal(
  gate: Gate<unknown>,
  { tier, reason }: { readonly tier: Tier; readonly reason: QueueRefusal },
  weights: TierWeights,
  nowMs: number,
): Refusal {
  return {
    code: reason,
    message: `The queue of service '${gate.key}' ${words[reason]}.`,
    retryAfterS: retryAfterS(turnsUntilDrained(gate, tier, weights), gate.drained.perSecond(nowMs)),
  };
}

/** Turns until all of a tier that waits now is served, if the others go on waiting. */
function turnsUntilDrained({ queue }: Gate<unknown>, tier: Tier, weights: TierWeights): number {
  let total = 0;
  for (const other of tiers) if (other === tier || queue.sizeOf(other) > 0) total += weights[other];
  return (queue.sizeOf(tier) * total) / weights[tier];
}
