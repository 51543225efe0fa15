import type { QosPolicy, ServiceConcurrency } from './qos-policy.schema.ts';

/**
 * How many requests of a service this gateway lets go to its servers at once. Gateways that share endpoints do not
 * ask each other: each admits its part, rounded down, but one at least, so that all together stay within the limit
 * unless there are more gateways than places.
 */
export interface Concurrency {
  /** This gateway's part of what one endpoint takes; Infinity: any number. */
  readonly perEndpoint: number;
  readonly perService: number;
}

/**
 * @param processes of this gateway: each is one of so many
 * @returns null where nothing is limited
 */
export function concurrencyOf(policy: QosPolicy, key: string, processes: number): Concurrency | null {
  const { concurrency } = policy;
  const own: ServiceConcurrency = concurrency.services[key] ?? {};
  const perEndpoint = own.perEndpoint === undefined ? concurrency.perEndpoint : own.perEndpoint;
  const perService = own.perService === undefined ? concurrency.perService : own.perService;
  if (perEndpoint === null && perService === null) return null;
  const part = (limit: number | null) =>
    limit === null ? Infinity : Math.max(1, Math.floor(limit / (concurrency.gateways * processes)));
  return { perEndpoint: part(perEndpoint), perService: part(perService) };
}

/** @returns whether the policy limits any service at all */
export function limitsAnything({ concurrency }: QosPolicy): boolean {
  if (concurrency.perEndpoint !== null || concurrency.perService !== null) return true;
  return Object.values(concurrency.services).some(
    ({ perEndpoint = null, perService = null }) => perEndpoint !== null || perService !== null,
  );
}

/** Requests at once with so many ready endpoints. */
export function capacityOf({ perEndpoint, perService }: Concurrency, endpoints: number): number {
  return Math.min(perService, endpoints === 0 ? 0 : perEndpoint * endpoints);
}
