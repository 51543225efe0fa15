import { z } from 'zod';

/** GET /apis/muster.dev/v1alpha1/status: the whole installation at a glance. */
export const ControlStatus = z.object({
  version: z.string(),
  startedAt: z.string(),
  gatewayUrl: z.string(),
  temporal: z.object({
    address: z.string(),
    /** Null when the server is not ours, so that its UI is not known. */
    uiUrl: z.string().nullable(),
    reachable: z.boolean(),
  }),
  /** Gateways whose route stream is open. */
  gateways: z.array(z.object({ gateway: z.string(), version: z.int(), connectedAt: z.string() })),
  routesVersion: z.int(),
  nodes: z.array(
    z.object({
      node: z.string(),
      /** Null when the node was not heard of since the control API started. */
      lastSeen: z.string().nullable(),
      notices: z.array(z.string()),
      /** How many replicas the node last reported, and how many of them were ready. */
      replicas: z.object({ total: z.int(), ready: z.int() }),
    }),
  ),
  services: z.object({ total: z.int(), ready: z.int() }),
});
export type ControlStatus = z.infer<typeof ControlStatus>;
