import type { CachePolicy, CacheRules } from './cache-policy.schema.ts';

/** @returns the rules that hold for a service: its own where it has some, else those for all */
export function rulesFor(policy: CachePolicy, serviceKey: string): CacheRules {
  // Own properties only: a service may be called like one of Object's.
  const own = Object.hasOwn(policy.services, serviceKey) ? policy.services[serviceKey] : undefined;
  const { semantic, ...rest } = own ?? {};
  return {
    enabled: rest.enabled ?? policy.enabled,
    ttlSeconds: rest.ttlSeconds ?? policy.ttlSeconds,
    negativeTtlSeconds: rest.negativeTtlSeconds ?? policy.negativeTtlSeconds,
    negativeStatuses: rest.negativeStatuses ?? policy.negativeStatuses,
    entryBytesMax: rest.entryBytesMax ?? policy.entryBytesMax,
    requestBytesMax: rest.requestBytesMax ?? policy.requestBytesMax,
    scope: rest.scope ?? policy.scope,
    deterministicOnly: rest.deterministicOnly ?? policy.deterministicOnly,
    kserve: rest.kserve ?? policy.kserve,
    epoch: rest.epoch ?? policy.epoch,
    semantic: {
      enabled: semantic?.enabled ?? policy.semantic.enabled,
      model: semantic?.model ?? policy.semantic.model,
      threshold: semantic?.threshold ?? policy.semantic.threshold,
      entriesMax: semantic?.entriesMax ?? policy.semantic.entriesMax,
      timeoutMs: semantic?.timeoutMs ?? policy.semantic.timeoutMs,
      promptCharsMax: semantic?.promptCharsMax ?? policy.semantic.promptCharsMax,
    },
  };
}

/** False when no service at all is cached: the gateway then does not look at requests. */
export function isAnyEnabled(policy: CachePolicy): boolean {
  return policy.enabled || Object.values(policy.services).some(({ enabled }) => enabled === true);
}
