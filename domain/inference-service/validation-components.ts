import type { Explainer, InferenceService, Predictor, Transformer } from './inference-service.schema.ts';
import { scalingProblem } from './validation-scaling.ts';

type Component = Predictor | Transformer | Explainer;

/** KServe prints its struct's fields but the last; the order is its source's. */
const implementationFields = {
  PredictorSpec:
    'SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, Model, WorkerSpec, PodSpec',
  TransformerSpec: 'PodSpec',
  ExplainerSpec: 'ART, PodSpec',
} as const;
type Kind = keyof typeof implementationFields;

const modelContainer = 'kserve-container';
const protocols = ['v1', 'v2'];
const explainerPrefixes = ['s3://', 'hdfs://', 'webhdfs://'];

/** The checks that each component gets, component by component. */
export function componentsProblem({ metadata, spec }: InferenceService): string | null {
  const { predictor, transformer, explainer } = spec;
  const annotations = metadata.annotations ?? {};
  return (
    problemOf('PredictorSpec', predictor, predictorImplementations(predictor), annotations) ??
    (transformer === undefined
      ? null
      : problemOf('TransformerSpec', transformer, hasContainers(transformer) ? 1 : 0, annotations)) ??
    (explainer === undefined
      ? null
      : problemOf('ExplainerSpec', explainer, explainerImplementations(explainer), annotations))
  );
}

function problemOf(
  kind: Kind,
  component: Component,
  implementations: number,
  annotations: Readonly<Record<string, string>>,
): string | null {
  if (implementations !== 1) {
    return `exactly one of [${implementationFields[kind]}] must be specified in ${kind}`;
  }
  return (
    (kind === 'PredictorSpec' ? protocolProblem(component) : null) ??
    (kind === 'ExplainerSpec' ? explainerStorageProblem(component) : null) ??
    extensionProblem(component) ??
    scalingProblem(component, annotations)
  );
}

/** Frameworks, `model`, and containers named kserve-container; if none, the first container counts. */
function predictorImplementations(predictor: Predictor): number {
  const named = [
    predictor.xgboost,
    predictor.pytorch,
    predictor.triton,
    predictor.sklearn,
    predictor.tensorflow,
    predictor.onnx,
    predictor.pmml,
    predictor.lightgbm,
    predictor.paddle,
    predictor.huggingface,
    predictor.model,
    ...(predictor.containers ?? []).filter(({ name }) => name === modelContainer),
  ].filter((implementation) => implementation !== undefined).length;
  return named === 0 && hasContainers(predictor) ? 1 : named;
}

function explainerImplementations(explainer: Explainer): number {
  return (explainer.art === undefined ? 0 : 1) + (hasContainers(explainer) ? 1 : 0);
}

function hasContainers({ containers }: Component): boolean {
  return (containers ?? []).length > 0;
}

/** Upstream swaps the arguments of this text ("invalid protocol v1, v2. Must be one of [x]"); here they fit. */
function protocolProblem(predictor: Predictor): string | null {
  if (predictor.model !== undefined) return null;
  const given = predictor.containers?.[0]?.env?.find(({ name }) => name === 'PROTOCOL')?.value;
  if (given === undefined || protocols.includes(given)) return null;
  return `invalid protocol ${given}. Must be one of [${protocols.join(', ')}]`;
}

function explainerStorageProblem({ art }: Explainer): string | null {
  if (art?.storage === undefined) return null;
  const list = explainerPrefixes.join(', ');
  if (art.storageUri !== undefined && art.storageUri !== '') {
    const uri = art.storageUri;
    return explainerPrefixes.some((prefix) => uri.startsWith(prefix))
      ? null
      : `storageUri, must be one of: [${list}] or match https://{}.blob.core.windows.net/{}/{} or be an ` +
          `absolute or relative local path. StorageUri [${uri}] is not supported`;
  }
  const type = art.storage.parameters?.['type'];
  if (type === undefined || explainerPrefixes.includes(`${type}://`)) return null;
  return `storage.spec.type, must be one of: [${list}]. storage.spec.type [${type}] is not supported`;
}

function extensionProblem({
  containerConcurrency = 0,
  minReplicas = 1,
  maxReplicas = 0,
  logger,
}: Component): string | null {
  if (containerConcurrency < 0) return 'parallelism cannot be less than 0';
  if (minReplicas < 0) return "'MinReplicas' cannot be less than 0";
  if (maxReplicas < 0) return "'MaxReplicas' cannot be less than 0";
  if (maxReplicas !== 0 && minReplicas > maxReplicas) {
    return "'MinReplicas' cannot be greater than MaxReplicas";
  }
  // A logger without mode is refused too, as upstream does against its own comment: what KServe refuses, it must
  // not find here.
  if (logger !== undefined && !['all', 'request', 'response'].includes(logger.mode ?? '')) {
    return 'invalid logger type';
  }
  return null;
}
