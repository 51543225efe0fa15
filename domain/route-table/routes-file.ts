import type { RouteTable, ServiceRoute } from './route-table.schema.ts';
import type { FileService, RoutesFile } from './routes-file.schema.ts';

/**
 * Fills a routes file up to a whole table.
 * @param version of the table where the file gives none
 */
export function tableFromFile(file: RoutesFile, version: number): RouteTable {
  return {
    version: file.version ?? version,
    services: file.services.map(serviceFromFile),
    ...(file.policy === undefined ? {} : { policy: file.policy }),
  };
}

function serviceFromFile({ endpoints, ...given }: FileService): ServiceRoute {
  const { name } = given;
  const models = given.models ?? [name];
  const revision = `${name}-file`;
  const ownTarget = {
    revision,
    percent: 100,
    endpoints: (endpoints ?? []).map(({ address, ready, revision: own }) => ({
      address,
      ready,
      revision: own ?? revision,
    })),
  };
  const defaults: ServiceRoute = {
    namespace: 'default',
    name,
    generation: 1,
    hosts: [],
    models,
    upstreamModel: models[0] ?? name,
    protocols: ['openai', 'v1', 'v2'],
    timeoutMs: null,
    state: 'Serving',
    message: '',
    createdAt: '1970-01-01T00:00:00Z',
    targets: [ownTarget],
  };
  // A field that is given as undefined is absent, not a value.
  const present = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...defaults, ...present };
}
