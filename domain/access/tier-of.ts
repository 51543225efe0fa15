import { tierRank, tiers } from '../qos/tier.ts';
import type { Tier } from '../qos/tier.ts';

/**
 * The tier of one request: its caller's own, or a lower one that it asks for by `x-muster-tier` (a nightly job under a
 * key of an urgent tenant). Asking for a higher one changes nothing.
 *
 * @returns null when the word is no tier
 */
export function tierOf(own: Tier, asked: string): Tier | null {
  const tier = tiers.find((one) => one === asked);
  if (tier === undefined) return null;
  return tierRank(tier) > tierRank(own) ? tier : own;
}
