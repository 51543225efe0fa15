import { z } from 'zod';
import { GatewayPolicy } from '../gateway-policy/gateway-policy.schema.ts';
import { endpointAddress } from './address.ts';
import { Endpoint, RouteTable, ServiceRoute } from './route-table.schema.ts';

/**
 * A route table as people write it, for a gateway that stands alone: a service needs a name and its servers, all else
 * has a default. A whole table as the control API sends it is such a file too. Unknown fields are refused, so that a
 * slip of the pen is not a setting that is silently off.
 */
const FileEndpoint = z.preprocess(
  (value) => (typeof value === 'string' ? { address: value } : value),
  z.strictObject({
    address: z
      .string()
      .regex(endpointAddress, 'must be http://host:port (or https, grpc, grpcs), without a path'),
    ready: Endpoint.shape.ready.default(true),
    revision: Endpoint.shape.revision.min(1).optional(),
  }),
);

const FileService = z
  .strictObject({
    ...ServiceRoute.partial().shape,
    name: ServiceRoute.shape.name.min(1),
    /** Servers that share all of the traffic; in place of `targets`. */
    endpoints: z.array(FileEndpoint).optional(),
  })
  .refine(({ endpoints, targets }) => endpoints === undefined || targets === undefined, {
    path: ['endpoints'],
    message: 'give either endpoints or targets, not both',
  });
export type FileService = z.infer<typeof FileService>;

export const RoutesFile = z.strictObject({
  version: RouteTable.shape.version.optional(),
  services: z.array(FileService),
  policy: GatewayPolicy.optional(),
});
export type RoutesFile = z.infer<typeof RoutesFile>;
