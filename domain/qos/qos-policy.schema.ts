import { z } from 'zod';

/**
 * Who is served first when there is not room for all: how many requests a service's servers take at once, how the
 * tiers share what comes free, how long and how many may wait. Without a concurrency limit nothing waits.
 */
const weight = z.number().positive().max(1_000_000);

const TierWeights = z.strictObject({
  critical: weight.default(80),
  high: weight.default(15),
  standard: weight.default(4),
  'best-effort': weight.default(1),
});
export type TierWeights = z.infer<typeof TierWeights>;

/** At least 1, so that every tier can wait at all. */
const tierNumbers = (value: number) =>
  z
    .strictObject({
      critical: z.int().positive().default(value),
      high: z.int().positive().default(value),
      standard: z.int().positive().default(value),
      'best-effort': z.int().positive().default(value),
    })
    .prefault({});

const Limit = z.int().positive().nullable();

export const ServiceConcurrency = z.strictObject({
  /** Requests that one ready endpoint takes at once; null: any number. */
  perEndpoint: Limit.optional(),
  /** Requests of the whole service at once, however many endpoints it has; null: any number. */
  perService: Limit.optional(),
});
export type ServiceConcurrency = z.infer<typeof ServiceConcurrency>;

const Concurrency = z.strictObject({
  perEndpoint: Limit.default(null),
  perService: Limit.default(null),
  /** By `namespace/name`; what is given here takes the place of the general limit. */
  services: z.record(z.string(), ServiceConcurrency).default({}),
  /** Gateways that share these endpoints (each may be several processes): each admits its part of the limits. */
  gateways: z.int().min(1).max(1_000).default(1),
});

const QueueBounds = z.strictObject({
  /** Requests waiting in the whole gateway. */
  requestsMax: z.int().positive().default(5_000),
  /** Bytes of their bodies. */
  bytesMax: z
    .int()
    .positive()
    .default(256 * 1024 * 1024),
  /** Requests of one tenant waiting in the whole gateway. */
  tenantRequestsMax: z.int().positive().default(1_000),
  /** Requests of one tier waiting for one service. */
  tierRequestsMax: tierNumbers(5_000),
  /** How long a request may wait, milliseconds. */
  ttlMs: tierNumbers(60_000),
});
export type QueueBounds = z.infer<typeof QueueBounds>;

export const QosPolicy = z.strictObject({
  weights: TierWeights.prefault({}),
  concurrency: Concurrency.prefault({}),
  queue: QueueBounds.prefault({}),
  /** What tenants of one tier share equally: turns, or tokens (estimated from body and `max_tokens`). */
  tenantShare: z.enum(['requests', 'tokens']).default('requests'),
});
export type QosPolicy = z.infer<typeof QosPolicy>;
