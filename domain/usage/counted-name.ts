import type { ServiceRoute } from '../route-table/route-table.schema.ts';

/**
 * The name under which requests for a model count, however they spell it: one of the service's models, without its
 * namespace. A request that names its service alone is answered by the first of them.
 * @param model as the request named it
 */
export function countedName(
  { namespace, name, models }: Pick<ServiceRoute, 'namespace' | 'name' | 'models'>,
  model: string,
): string {
  if (models.includes(model)) return model;
  const bare = model.startsWith(`${namespace}/`) ? model.slice(namespace.length + 1) : model;
  return models.includes(bare) ? bare : (models[0] ?? name);
}
