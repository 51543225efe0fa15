import { z } from 'zod';

/**
 * What a node agent tells the control API, whole, on each change and every few seconds. Addresses and readiness
 * flow this way into the route table without any workflow, so that a restarted server is routable again with
 * Temporal down. Reports are samples: they are kept in memory (the last one on disk), never in a history.
 */
const Failure = z.object({
  /** ModelLoadFailed, RuntimeUnhealthy: KServe's words. */
  reason: z.string(),
  /** For people: the last words of the server, or what was waited for. At most 4 KiB. */
  message: z.string(),
  exitCode: z.int().optional(),
  time: z.string(),
});
export type Failure = z.infer<typeof Failure>;

export const ReplicaReport = z.object({
  namespace: z.string(),
  name: z.string(),
  component: z.enum(['predictor', 'transformer', 'explainer']),
  revision: z.string(),
  index: z.int(),
  /** http://host:port of the server. */
  address: z.string(),
  state: z.enum(['Starting', 'Ready', 'NotReady', 'CrashLoopBackOff', 'Stopping']),
  restarts: z.int(),
  /** When the state was entered, RFC 3339. */
  since: z.string(),
  failure: Failure.optional(),
});
export type ReplicaReport = z.infer<typeof ReplicaReport>;

/** A download or an environment in the making. */
export const TransferReport = z.object({
  namespace: z.string(),
  name: z.string(),
  revision: z.string(),
  phase: z.enum(['Environment', 'Download', 'Load']),
  /** Bytes, or steps when total is null. */
  done: z.number(),
  total: z.number().nullable(),
  message: z.string(),
});
export type TransferReport = z.infer<typeof TransferReport>;

export const NodeReport = z.object({
  node: z.string(),
  /** http://host:port of the agent's own server (logs). */
  agentAddress: z.string(),
  at: z.string(),
  /** What this node cannot do, in plain sentences (for example: python3 is missing). */
  notices: z.array(z.string()),
  replicas: z.array(ReplicaReport),
  transfers: z.array(TransferReport),
});
export type NodeReport = z.infer<typeof NodeReport>;
