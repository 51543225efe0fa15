import { z } from 'zod';
import { NodeReport, ReplicaReport, TransferReport } from '../node/report.schema.ts';
import { RouteAssignment } from '../route-table/route-table.schema.ts';

/**
 * Routes under /internal of the control API, for Muster's own processes only (bearer: the data folder's
 * internal token). JSON bodies; errors are RFC 9457 problem details with `code` (an ErrorCode).
 *
 * | method and path | body | answer |
 * |---|---|---|
 * | GET /internal/health | | {"status":"ok"} without a token |
 * | GET /internal/runtimes?namespace=N | | RuntimeLists |
 * | GET /internal/nodes | | {nodes: NodeReport[]} |
 * | PUT /internal/nodes/{node}/report | NodeReport | {} |
 * | PUT /internal/inferenceservices/{ns}/{name} | PublishedObject | {} ; 409 when a newer generation is stored |
 * | DELETE /internal/inferenceservices/{ns}/{name} | | {} also when absent |
 * | PUT /internal/routes/{ns}/{name} | RouteAssignment | {version}; 409 `conflict` while a revision in traffic has no ready replica reported |
 * | DELETE /internal/routes/{ns}/{name} | | {version} |
 * | GET /internal/routes/stream?gateway=ID | | NDJSON of RouteTable: the whole table at once, again on every change; a blank line every 5 s |
 * | POST /internal/gateways/report | GatewayReport | {} |
 * | GET /internal/gateways | | GatewayList: gateways whose stream is open |
 * | POST /internal/events | EventRecord | {} |
 * | PUT /internal/revisions/{ns}/{name}/{revision} | RevisionRecord | {} |
 * | GET /internal/observations/stream | | NDJSON of Observation: at once and on every change (at most 5 a second) |
 */
export const GatewayList = z.object({
  /** False while the API has just started and its gateways may not have found it again: nobody is then known to be up to date. */
  isSettled: z.boolean().default(true),
  gateways: z.array(
    z.object({
      gateway: z.string(),
      version: z.int(),
      draining: z.record(z.string(), z.int()),
      connectedAt: z.string(),
    }),
  ),
});
export type GatewayList = z.infer<typeof GatewayList>;

export const RouteVersion = z.object({ version: z.int() });

/** What the observer compares: services with their traffic, and what nodes say of their replicas. */
export const Observation = z.object({
  services: z.array(
    z.object({
      namespace: z.string(),
      name: z.string(),
      phase: z.string(),
      /** modelStatus.transitionStatus and lastFailureInfo.reason, '' when absent. */
      transitionStatus: z.string(),
      failureReason: z.string(),
      /** Revisions that the entity last decided to send traffic to. */
      revisions: z.array(z.string()),
    }),
  ),
  replicas: z.array(ReplicaReport),
  /** Nodes heard of in the last 15 s; replicas of a silent node are unknown, not lost. */
  nodes: z.array(z.string()),
  /** Grows whenever a (cluster) serving runtime changes. */
  runtimesVersion: z.int(),
});
export type Observation = z.infer<typeof Observation>;

/** GET /apis/muster.dev/v1alpha1/progress: long work under way, for progress displays. */
export const Progress = z.object({
  transfers: z.array(TransferReport),
  replicas: z.array(ReplicaReport),
  notices: z.array(z.string()),
});
export type Progress = z.infer<typeof Progress>;

export { NodeReport, RouteAssignment };

/** A request waits at a gateway for this service. */
export const WakeRequest = z.strictObject({
  namespace: z.string().min(1).max(253),
  name: z.string().min(1).max(253),
});
