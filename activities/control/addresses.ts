import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { Site } from '../../domain/inference-service/messages.ts';
import type { RouteAssignment } from '../../domain/route-table/route-table.schema.ts';

/** The host by which the gateway knows a service under the configured domain. */
export function serviceHost(namespace: string, name: string, domain: string): string {
  return `${name}-${namespace}.${domain}`.toLowerCase();
}

export function withHost(assignment: RouteAssignment, site: Site): RouteAssignment {
  const host = serviceHost(assignment.namespace, assignment.name, site.domain);
  return { ...assignment, hosts: [...new Set([...assignment.hosts, host])] };
}

/**
 * The object with the addresses that hold now. A workflow lives longer than the settings of the processes around
 * it: where users reach its service is completed here, each time a status is published, and not remembered there.
 */
export function withAddresses(object: InferenceService, site: Site): InferenceService {
  const { status } = object;
  if (status?.url === undefined) return object;
  const { name, namespace = 'default' } = object.metadata;
  const urls = {
    url: `http://${serviceHost(namespace, name, site.domain)}`,
    address: { url: `${site.gatewayUrl}/serving/${namespace}/${name}` },
  };
  const components = Object.entries(status.components ?? {}).map(([key, component]) => [
    key,
    component.url === undefined ? component : { ...component, ...urls },
  ]);
  return {
    ...object,
    status: { ...status, ...urls, components: Object.fromEntries(components) as typeof status.components },
  };
}
