import { CliError, exitCodes } from './exit-codes.ts';

/** A kind of object that the control API keeps, with the names by which people ask for it. */
export interface Kind {
  readonly kind: string;
  readonly group: string;
  readonly plural: string;
  readonly names: readonly string[];
  readonly isNamespaced: boolean;
}

export const inferenceService: Kind = {
  kind: 'InferenceService',
  group: 'serving.kserve.io/v1beta1',
  plural: 'inferenceservices',
  names: ['isvc', 'inferenceservice', 'inferenceservices'],
  isNamespaced: true,
};

export const gatewayPolicy: Kind = {
  kind: 'GatewayPolicy',
  group: 'muster.dev/v1alpha1',
  plural: 'gatewaypolicies',
  names: ['gatewaypolicy', 'gatewaypolicies', 'policy'],
  isNamespaced: false,
};

export const kinds: readonly Kind[] = [
  inferenceService,
  {
    kind: 'ServingRuntime',
    group: 'serving.kserve.io/v1alpha1',
    plural: 'servingruntimes',
    names: ['servingruntime', 'servingruntimes', 'runtime', 'runtimes'],
    isNamespaced: true,
  },
  {
    kind: 'ClusterServingRuntime',
    group: 'serving.kserve.io/v1alpha1',
    plural: 'clusterservingruntimes',
    names: ['clusterservingruntime', 'clusterservingruntimes', 'csr'],
    isNamespaced: false,
  },
  gatewayPolicy,
];

/** @param name as a person writes it, e.g. `isvc` or `ServingRuntimes` */
export function kindByName(name: string): Kind {
  const found = kinds.find((k) => k.names.includes(name.toLowerCase()));
  if (found !== undefined) return found;
  const known = kinds.map((k) => k.names[0]).join(', ');
  throw new CliError(`There is no kind ${JSON.stringify(name)}. Known: ${known}.`, exitCodes.usage);
}

/** @param apiVersion of a manifest; @param kind of a manifest */
export function kindOfManifest(apiVersion: string, kind: string): Kind | null {
  return kinds.find((k) => k.kind === kind && k.group === apiVersion) ?? null;
}

/** @param namespace null: all namespaces */
export function pathOf(kind: Kind, namespace: string | null, name?: string): string {
  const scope = kind.isNamespaced && namespace !== null ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  const object = name === undefined ? '' : `/${encodeURIComponent(name)}`;
  return `/apis/${kind.group}${scope}/${kind.plural}${object}`;
}
