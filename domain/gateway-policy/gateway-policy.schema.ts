import { z } from 'zod';
import { AccessPolicy } from '../access/access-policy.schema.ts';
import { BudgetsPolicy } from '../budget/budget-policy.schema.ts';
import { CachePolicy } from '../cache/cache-policy.schema.ts';
import { ModelRoutes } from '../model-route/model-route-policy.schema.ts';
import { PayloadLogPolicy } from '../payload-log/payload-log-policy.schema.ts';
import { AccessLogPolicy } from '../observe/access-log-policy.schema.ts';
import { PickPolicy } from '../routing/prefix/pick-policy.schema.ts';
import { QosPolicy } from '../qos/qos-policy.schema.ts';
import { RateLimitsPolicy } from '../rate-limit/rate-limit-policy.schema.ts';
import { ResiliencePolicy } from '../resilience/resilience-policy.schema.ts';
import { PricesPolicy } from '../usage/prices-policy.schema.ts';
import { UsagePolicy } from '../usage/usage-policy.schema.ts';

/**
 * What a gateway is told beside its routes: who may ask, in which order, at what price, what is kept, what is tried
 * again. One section a topic, each with its own schema and defaults that change nothing; the empty policy is an open
 * gateway without queue, budget or cache. It travels in the route table, so a gateway alone reads it from its file.
 */
export const GatewayPolicy = z.strictObject({
  access: AccessPolicy.prefault({}),
  accessLog: AccessLogPolicy.prefault({}),
  budgets: BudgetsPolicy,
  cache: CachePolicy.prefault({}),
  models: ModelRoutes,
  payloadLog: PayloadLogPolicy.prefault({}),
  pick: PickPolicy.prefault({}),
  prices: PricesPolicy.prefault({}),
  qos: QosPolicy.prefault({}),
  rateLimits: RateLimitsPolicy,
  resilience: ResiliencePolicy.prefault({}),
  usage: UsagePolicy.prefault({}),
});
export type GatewayPolicy = z.infer<typeof GatewayPolicy>;
