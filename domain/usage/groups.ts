/** What usage is summed by; plain, since the CLI needs it before anything else. */
export const usageGroups = ['tenant', 'key', 'model', 'service', 'day'] as const;

export type UsageGroup = (typeof usageGroups)[number];
