import { z } from 'zod';
import { LoggerRoute } from '../payload-log/payload-log-policy.schema.ts';
import { BatcherRoute } from '../batcher/batcher.schema.ts';
import { GatewayPolicy } from '../gateway-policy/gateway-policy.schema.ts';
import { endpointAddress } from './address.ts';

/**
 * The route table: all that a gateway needs to serve, as one versioned snapshot. The control API builds it from
 * assignments (what workflows decided) and node reports (where servers are, and whether they are ready), streams
 * it to gateways, and each gateway keeps the last good one on disk. A bad version is refused whole.
 */
export const Protocol = z.enum(['v1', 'v2', 'grpc-v1', 'grpc-v2', 'openai']);

export const Endpoint = z.object({
  /** http://host:port; grpc://host:port for a server that speaks gRPC V2 alone; https and grpcs with TLS. */
  address: z.string().regex(endpointAddress),
  revision: z.string(),
  ready: z.boolean(),
});
export type Endpoint = z.infer<typeof Endpoint>;

const Target = z.object({
  revision: z.string(),
  /** Share of the traffic; all targets of a service add up to 100, or there is none. */
  percent: z.number().min(0).max(100),
  endpoints: z.array(Endpoint),
});
export type Target = z.infer<typeof Target>;

/** A transformer or explainer of a service: servers of their own, which ask the predictor in turn. */
const ComponentRoute = z.object({
  targets: z.array(Target),
  /** Absent: as the predictor's. */
  protocols: z.array(Protocol).optional(),
  /** Name that the component knows the model by; absent: the service's name, as KServe's SDK has it. */
  upstreamModel: z.string().optional(),
});

export const ServiceRoute = z.object({
  namespace: z.string(),
  name: z.string(),
  generation: z.int(),
  /** Hosts that name this service, lower case, without port. */
  hosts: z.array(z.string()),
  /** Names that a request may use for the model; the service's own name is among them. */
  models: z.array(z.string()).min(1),
  /** Name that the server itself knows the model by: requests are rewritten to it when they differ. */
  upstreamModel: z.string(),
  protocols: z.array(Protocol),
  /** Whole time a request may take, milliseconds; null: the gateway's default. */
  timeoutMs: z.int().positive().nullable(),
  /** Asleep: scaled to nothing; a request wakes it. */
  state: z.enum(['Serving', 'Loading', 'Failed', 'Stopped', 'Asleep']),
  /** For people, when not Serving. */
  message: z.string(),
  createdAt: z.string(),
  /** Its servers ask for themselves who calls: they get the caller's Authorization, unless that is a key of the gateway. */
  passAuthorization: z.boolean().optional(),
  /** Copies of its requests and answers go out as events. */
  logger: LoggerRoute.optional(),
  /** Its requests are joined into batches. */
  batcher: BatcherRoute.optional(),
  targets: z.array(Target),
  /** What requests come to first; it asks the predictor. */
  transformer: ComponentRoute.optional(),
  /** What `:explain` asks; it asks the predictor. */
  explainer: ComponentRoute.optional(),
});
export type ServiceRoute = z.infer<typeof ServiceRoute>;

export const RouteTable = z.object({
  /** Grows by one with each change. */
  version: z.int().min(0),
  services: z.array(ServiceRoute),
  /** Absent: the empty policy. */
  policy: GatewayPolicy.optional(),
});
export type RouteTable = z.infer<typeof RouteTable>;

/** A workflow's decision about a service's traffic, without addresses. */
export const RouteAssignment = ServiceRoute.omit({
  targets: true,
  transformer: true,
  explainer: true,
}).extend({
  traffic: z.array(z.object({ revision: z.string(), percent: z.number().min(0).max(100) })),
});
export type RouteAssignment = z.infer<typeof RouteAssignment>;

/** What a gateway tells the control API after each new table, twice a second while old endpoints drain, and every 5 s. */
export const GatewayReport = z.object({
  gateway: z.string(),
  version: z.int().min(0),
  /** Requests in flight to addresses that the table no longer has; absent addresses have none. */
  draining: z.record(z.string(), z.int().min(0)),
});
export type GatewayReport = z.infer<typeof GatewayReport>;
