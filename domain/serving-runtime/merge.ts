import type { InferenceService, Model } from '../inference-service/inference-service.schema.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import type { ServingRuntimeSpec } from './serving-runtime.schema.ts';

export const modelContainer = 'kserve-container';

/** Kubernetes' merge keys: lists that are merged entry by entry; every other list is replaced. */
const mergeKeys: Readonly<Record<string, string>> = {
  env: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  resizePolicy: 'resourceName',
  claims: 'name',
};

/**
 * A runtime's container with a service's laid over it: Kubernetes' strategic merge patch, but `args` are
 * concatenated, runtime first (KServe's rule, so that a service adds flags and does not repeat them).
 */
export function mergeContainers(runtime: Container, service: Container): Container {
  const merged = mergeValue(runtime, service, '') as Container;
  const args = [...(runtime.args ?? []), ...(service.args ?? [])];
  const name = (service.name ?? '') === '' ? runtime.name : service.name;
  return {
    ...merged,
    ...(args.length === 0 ? {} : { args }),
    ...(name === undefined ? {} : { name }),
  };
}

function mergeValue(base: unknown, patch: unknown, key: string): unknown {
  if (patch === undefined) return base;
  if (Array.isArray(patch)) return Array.isArray(base) ? mergeLists(base, patch, key) : patch;
  if (!isObject(base) || !isObject(patch)) return patch;
  const keys = [...new Set([...Object.keys(base), ...Object.keys(patch)])];
  // Kubernetes' patches delete with null.
  return Object.fromEntries(
    keys
      .filter((name) => patch[name] !== null)
      .map((name) => [name, mergeValue(base[name], patch[name], name)]),
  );
}

function mergeLists(base: readonly unknown[], patch: readonly unknown[], key: string): unknown {
  const mergeKey = mergeKeys[key];
  if (mergeKey === undefined) return patch;
  const left = [...patch];
  const merged = base.map((item) => {
    const at = left.findIndex(
      (other) => isObject(item) && isObject(other) && item[mergeKey] === other[mergeKey],
    );
    if (at === -1) return item;
    const [other] = left.splice(at, 1);
    return key === 'env' ? other : mergeValue(item, other, '');
  });
  return [...merged, ...left];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * What KServe fills into a service once it knows the runtime, for the three stock runtimes that need it. Keyed
 * by the runtime's name, as upstream does, and only where the service left the place empty.
 */
export function applyRuntimeDefaults(object: InferenceService, runtimeName: string): InferenceService {
  const { model } = object.spec.predictor;
  if (model === undefined) return object;
  switch (runtimeName) {
    case 'kserve-mlserver':
      return mlserverDefaults(object, model);
    case 'kserve-torchserve':
      return torchserveDefaults(object, model);
    case 'kserve-tritonserver':
      return tritonDefaults(object, model);
    default:
      return object;
  }
}

const modelClasses: Readonly<Record<string, string>> = {
  xgboost: 'mlserver_xgboost.XGBoostModel',
  lightgbm: 'mlserver_lightgbm.LightGBMModel',
  mlflow: 'mlserver_mlflow.MLflowRuntime',
};

function mlserverDefaults(object: InferenceService, model: Model): InferenceService {
  const stored = hasStorage(model)
    ? { MLSERVER_MODEL_NAME: object.metadata.name, MLSERVER_MODEL_URI: '/mnt/models' }
    : { MLSERVER_LOAD_MODELS_AT_STARTUP: 'false' };
  const modelClass = modelClasses[model.modelFormat.name] ?? 'mlserver_sklearn.SKLearnModel';
  return withModel(
    withLabel(object, 'modelClass', modelClass),
    withEnv({ ...model, protocolVersion: model.protocolVersion ?? 'v2' }, stored),
  );
}

function torchserveDefaults(object: InferenceService, model: Model): InferenceService {
  const protocolVersion = model.protocolVersion ?? 'v1';
  const envelope = protocolVersion === 'v2' || protocolVersion === 'grpc-v2' ? 'kservev2' : 'kserve';
  return withModel(
    withLabel(object, 'serviceEnvelope', envelope),
    withEnv({ ...model, protocolVersion }, { PROTOCOL_VERSION: protocolVersion }),
  );
}

function tritonDefaults(object: InferenceService, model: Model): InferenceService {
  const explicit = '--model-control-mode=explicit';
  const args = model.args ?? [];
  const needed = !hasStorage(model) && !args.includes(explicit);
  return withModel(object, {
    ...model,
    protocolVersion: model.protocolVersion ?? 'v2',
    ...(needed ? { args: [...args, explicit] } : {}),
  });
}

function hasStorage(model: Model): boolean {
  return (
    (model.storageUri ?? '') !== '' || (model.storageUris ?? []).length > 0 || model.storage !== undefined
  );
}

function withEnv(model: Model, values: Readonly<Record<string, string>>): Model {
  const env = model.env ?? [];
  const names = new Set(env.map((variable) => variable.name));
  const added = Object.entries(values)
    .filter(([name]) => !names.has(name))
    .map(([name, value]) => ({ name, value }));
  return { ...model, env: [...env, ...added] };
}

function withLabel(object: InferenceService, name: string, value: string): InferenceService {
  const labels = { [name]: value, ...object.metadata.labels };
  return { ...object, metadata: { ...object.metadata, labels } };
}

function withModel(object: InferenceService, model: Model): InferenceService {
  return { ...object, spec: { ...object.spec, predictor: { ...object.spec.predictor, model } } };
}

/** The runtime's container that serves the model, or KServe's error text. */
export function modelContainerOf(
  spec: ServingRuntimeSpec,
): { readonly ok: true; readonly container: Container } | { readonly ok: false; readonly error: string } {
  if (spec.containers.length === 0) {
    return { ok: false, error: 'no container configuration found in selected serving runtime' };
  }
  const container = spec.containers.find((candidate) => candidate.name === modelContainer);
  return container === undefined
    ? { ok: false, error: `failed to find ${modelContainer} in ServingRuntime containers` }
    : { ok: true, container };
}
