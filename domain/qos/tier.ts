/**
 * Tiers of service, most urgent first. A caller's tier comes from its key or token; a request may ask for a lower
 * one than its caller has, never for a higher one.
 */
export const tiers = ['critical', 'high', 'standard', 'best-effort'] as const;

export type Tier = (typeof tiers)[number];

/** 0: most urgent. */
export function tierRank(tier: Tier): number {
  return tiers.indexOf(tier);
}
