import type { CachePolicy, CacheRules } from './cache-policy.schema.ts';

/** @returns the rules that hold for a service: its own where it has some, else those for all */
export function rulesFor(policy: CachePolicy, serviceKey: string): CacheRules {
  const { services, local: _local, shared: _shared, singleFlight: _flight, ...all } = policy;
  // Own properties only: a service may be called like one of Object's.
  const own = Object.hasOwn(services, serviceKey) ? services[serviceKey] : undefined;
  if (own === undefined) return all;
  return { ...over(all, own), semantic: over(all.semantic, own.semantic ?? {}) };
}

/** What is said in `own` takes the place of what is said in `base`. */
function over<T extends object>(base: T, own: object): T {
  const said = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...base, ...(Object.fromEntries(said) as Partial<T>) };
}

/** False when no service at all is cached: the gateway then does not look at requests. */
export function isAnyEnabled(policy: CachePolicy): boolean {
  return policy.enabled || Object.values(policy.services).some(({ enabled }) => enabled === true);
}
