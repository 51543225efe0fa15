import { z } from 'zod';
import { Metadata } from '../inference-service/kubernetes.schema.ts';
import { GatewayPolicy } from './gateway-policy.schema.ts';

/** The policy of an installation's gateways as a manifest: one, by the name `default`. */
export const GatewayPolicyResource = z.strictObject({
  apiVersion: z.literal('muster.dev/v1alpha1'),
  kind: z.literal('GatewayPolicy'),
  metadata: Metadata.extend({ name: z.literal('default') }),
  spec: GatewayPolicy,
  status: z.unknown().optional(),
});

/**
 * As it was written, without defaults filled in: a later Muster's defaults apply to it, and an older gateway is not
 * told of sections that nobody wrote.
 */
export type GatewayPolicyObject = z.input<typeof GatewayPolicyResource>;

export const GatewayPolicyList = z.object({
  apiVersion: z.literal('muster.dev/v1alpha1'),
  kind: z.literal('GatewayPolicyList'),
  metadata: z.object({}),
  items: z.array(GatewayPolicyResource),
});
