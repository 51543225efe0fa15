import { estimatedInput, estimatedOutput } from '../../domain/usage/estimate.ts';
import { costOf } from '../../domain/usage/price.ts';
import type { UsagePolicy } from '../../domain/usage/usage-policy.schema.ts';
import type { Passage } from '../passage.ts';
import type { Meter } from './meters.ts';
import { hasTokens } from './usage-step.ts';

/** Sets the tokens and the money that a request may use, as far as it says; once, whoever asks first. */
export function estimateRequest(passage: Passage, meter: Meter, policy: UsagePolicy): void {
  if (passage.estimatedTokens >= 0) return;
  const { fields } = passage;
  if (fields === null) {
    passage.estimatedTokens = 0;
    passage.estimatedMicros = meter.price?.perRequest ?? 0;
    return;
  }
  const inputTokens = estimatedInput(passage.body?.length ?? 0);
  const outputTokens = estimatedOutput(fields, hasTokens(passage.operation.head), policy);
  passage.estimatedTokens = inputTokens + outputTokens;
  if (meter.price !== null)
    passage.estimatedMicros = costOf(meter.price, { inputTokens, cachedInputTokens: 0, outputTokens });
}
