import type { Container } from './kubernetes.schema.ts';
import type { Explainer, InferenceService, Predictor, Transformer } from './inference-service.schema.ts';
import { canonicalDeploymentMode, deploymentModeAnnotation } from './deployment-mode.ts';
import { legacyFramework } from './frameworks.ts';
import { without } from './without.ts';

/** What a cluster's configuration adds; all of it is absent on the local platform. */
export interface DefaultingConfig {
  /** Config `deploy.defaultDeploymentMode`. */
  readonly defaultDeploymentMode?: string;
  /** Config `inferenceService.resource`: filled key by key into custom containers. */
  readonly resources?: {
    readonly limits?: Readonly<Record<string, string>>;
    readonly requests?: Readonly<Record<string, string>>;
  };
  /** Config `explainers.art.defaultImageVersion`. */
  readonly artImageVersion?: string;
  /** Config `security.autoMountServiceAccountToken`; only false has an effect. */
  readonly autoMountServiceAccountToken?: boolean;
}

const container = 'kserve-container';
const formatsThatSpeakV2 = new Set(['triton', 'onnx', 'huggingface']);

/**
 * KServe's mutating webhook (v0.15) as a function: the object as it is stored, with the framework fields of old
 * rewritten into `model`. The input is left as it is, and applying it twice changes nothing more.
 *
 * The deployment mode is written only where KServe writes it: when a cluster's configuration defaults to
 * RawDeployment or ModelMesh. The local platform has no such configuration, so nothing is invented there; an
 * annotation would switch validation to the HPA rules and would be refused when the mode is changed later.
 */
export function applyDefaults(object: InferenceService, config: DefaultingConfig = {}): InferenceService {
  const annotations = defaultAnnotations(object, config);
  // KServe looks at the annotation before it writes its own, so that a configured ModelMesh default still
  // rewrites the framework field.
  const given = object.metadata.annotations?.[deploymentModeAnnotation];
  const modelMesh = given !== undefined && canonicalDeploymentMode(given) === 'ModelMesh';
  const { predictor, transformer, explainer } = object.spec;
  return {
    ...object,
    metadata: {
      ...object.metadata,
      namespace: object.metadata.namespace ?? 'default',
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: {
      ...object.spec,
      predictor: withToken(defaultPredictor(predictor, modelMesh, config), config),
      ...(transformer === undefined
        ? {}
        : { transformer: withToken(defaultCustom(transformer, config, true), config) }),
      ...(explainer === undefined
        ? {}
        : { explainer: withToken(defaultExplainer(explainer, config), config) }),
    },
  };
}

function defaultAnnotations(
  object: InferenceService,
  config: DefaultingConfig,
): Record<string, string> | undefined {
  const annotations = object.metadata.annotations;
  const given = annotations?.[deploymentModeAnnotation];
  if (given !== undefined) {
    const mode = canonicalDeploymentMode(given);
    return mode === null ? annotations : { ...annotations, [deploymentModeAnnotation]: mode };
  }
  const mode = canonicalDeploymentMode(config.defaultDeploymentMode ?? '');
  if (mode !== 'RawDeployment' && mode !== 'ModelMesh') return annotations;
  return { ...annotations, [deploymentModeAnnotation]: mode };
}

function defaultPredictor(predictor: Predictor, modelMesh: boolean, config: DefaultingConfig): Predictor {
  if (modelMesh) return predictor;
  return defaultCustom(defaultModel(predictor), config, false);
}

function defaultModel(predictor: Predictor): Predictor {
  const legacy = predictor.model === undefined ? legacyFramework(predictor) : null;
  if (legacy !== null) {
    const { framework, extension } = legacy;
    const protocol = formatsThatSpeakV2.has(framework) ? { protocolVersion: 'v2' } : {};
    const model = { ...protocol, ...defined(extension), modelFormat: { name: framework } };
    return { ...without(predictor, framework), model };
  }
  const { model } = predictor;
  if (model?.modelFormat.name === 'triton' && model.protocolVersion === undefined) {
    return { ...predictor, model: { ...model, protocolVersion: 'v2' } };
  }
  return predictor;
}

/** A custom predictor's only container is the model server whatever its name; others are named by force. */
function defaultCustom<T extends Predictor | Transformer | Explainer>(
  component: T,
  config: DefaultingConfig,
  force: boolean,
): T {
  const [first, ...others] = component.containers ?? [];
  const custom = first !== undefined && !('model' in component && component.model !== undefined);
  if (!custom) return component;
  const rename = force || others.length === 0 || (first.name ?? '') === '';
  const named = rename ? { ...first, name: container } : first;
  return { ...component, containers: [withResources(named, config), ...others] };
}

function defaultExplainer(explainer: Explainer, config: DefaultingConfig): Explainer {
  if (explainer.art === undefined) return defaultCustom(explainer, config, true);
  const version = explainer.art.runtimeVersion ?? config.artImageVersion;
  const art = {
    ...explainer.art,
    name: container,
    ...(version === undefined ? {} : { runtimeVersion: version }),
  };
  return { ...explainer, art: withResources(art, config) };
}

function withResources<T extends Pick<Container, 'resources'>>(target: T, config: DefaultingConfig): T {
  if (config.resources === undefined) return target;
  const { limits, requests } = config.resources;
  return {
    ...target,
    resources: {
      ...target.resources,
      limits: { ...limits, ...target.resources?.limits },
      requests: { ...requests, ...target.resources?.requests },
    },
  };
}

function withToken<T extends Predictor | Transformer | Explainer>(component: T, config: DefaultingConfig): T {
  if (config.autoMountServiceAccountToken !== false) return component;
  return { ...component, automountServiceAccountToken: component.automountServiceAccountToken ?? false };
}

/** Without the keys that are undefined, which would hide a default spread before them. */
function defined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}
