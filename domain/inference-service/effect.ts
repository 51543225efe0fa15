import type { InferenceService } from './inference-service.schema.ts';

/**
 * Which fields of a service have an effect on the local platform, as an allow list: everything else that is set
 * is reported, so a field that the schema learns tomorrow cannot be ignored silently. `true` takes a field with
 * all that is below it; a rule looks at the value; a nested list goes down.
 */
type Effect = true | Rule | { readonly [field: string]: Effect };
type Rule = (value: unknown) => boolean;

const atLeastOne: Rule = (value) => typeof value === 'number' && value >= 1;

/** The probe goes to the port that the agent picked, which is the server's own HTTP port. */
const serverPort: Rule = (value) => value === 8080 || value === 'http' || value === 'http1';

const model: Effect = {
  modelFormat: { name: true, version: true },
  runtime: true,
  protocolVersion: true,
  args: { '*': true },
  env: { '*': { name: true, value: true } },
  storageUri: true,
  storageUris: { '*': { uri: true, mountPath: true } },
  name: (value) => value === '' || value === 'kserve-container',
  readinessProbe: {
    httpGet: { path: true, port: serverPort },
    periodSeconds: true,
    timeoutSeconds: true,
    failureThreshold: true,
  },
  startupProbe: { periodSeconds: true, failureThreshold: true, initialDelaySeconds: true },
};

const spec: Effect = {
  predictor: {
    model,
    minReplicas: atLeastOne,
    timeout: true,
    terminationGracePeriodSeconds: true,
  },
};

/** Annotations of KServe, Knative and Muster that have an effect; others with their prefixes are reported. */
const annotations = new Set([
  'serving.kserve.io/stop',
  'muster.dev/aliases',
  'muster.dev/startup-timeout-seconds',
]);
const governing = /^(.+\.)?(kserve\.io|knative\.dev|istio\.io|muster\.dev|openshift\.io|opendatahub\.io)\//;
const governingLabels = new Set(['networking.knative.dev/visibility', 'networking.kserve.io/visibility']);

/** Paths of all fields that are set and have no effect yet on the local platform, in the object's order. */
export function fieldsWithoutEffect(object: InferenceService): readonly string[] {
  const paths: string[] = [];
  walk(object.spec, spec, 'spec', paths);
  walkMaxReplicas(object, paths);
  for (const name of Object.keys(object.metadata.annotations ?? {})) {
    if (governing.test(name) && !annotations.has(name)) paths.push(`metadata.annotations['${name}']`);
  }
  for (const name of Object.keys(object.metadata.labels ?? {})) {
    if (governingLabels.has(name)) paths.push(`metadata.labels['${name}']`);
  }
  return paths;
}

function walk(value: unknown, effect: Effect | undefined, path: string, paths: string[]): void {
  if (value === undefined || value === null || effect === true) return;
  if (typeof effect === 'function') {
    if (!effect(value)) paths.push(path);
    return;
  }
  if (effect === undefined || typeof value !== 'object') {
    paths.push(path);
    return;
  }
  if (Array.isArray(value)) {
    value.forEach((item, index) => {
      walk(item, effect['*'], `${path}[${String(index)}]`, paths);
    });
    return;
  }
  for (const [field, item] of Object.entries(value)) {
    if (path === 'spec.predictor' && field === 'maxReplicas') continue;
    walk(item, Object.hasOwn(effect, field) ? effect[field] : undefined, `${path}.${field}`, paths);
  }
}

/** A maximum at or below the minimum is what a fixed number of replicas does anyway. */
function walkMaxReplicas({ spec: { predictor } }: InferenceService, paths: string[]): void {
  const { maxReplicas, minReplicas } = predictor;
  // KServe reads 0 as absent.
  if (maxReplicas === undefined || maxReplicas === 0) return;
  if (maxReplicas === Math.max(1, minReplicas ?? 1)) return;
  paths.push('spec.predictor.maxReplicas');
}
