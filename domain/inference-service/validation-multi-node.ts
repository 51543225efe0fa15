import type { InferenceService, Model, Predictor } from './inference-service.schema.ts';
import { unknownGpuProblem } from './gpu-resources.ts';
import { autoscalerClassAnnotation } from './annotations.ts';

/** What a cluster's configuration adds to validation. */
export interface ValidationConfig {
  /** Config `multiNode.customGPUResourceTypeList`. */
  readonly gpuResourceTypes?: readonly string[];
}

/** Checks of a predictor that runs over several nodes (`workerSpec`); null when it does not. */
export function multiNodeProblem(object: InferenceService, config: ValidationConfig): string | null {
  const { model, workerSpec } = object.spec.predictor;
  if (workerSpec === undefined) return null;
  const annotations = object.metadata.annotations ?? {};
  const wrong = (text: string) => `the InferenceService "${object.metadata.name}" is invalid: ${text}`;
  const gpu = (container: Pick<Model, 'resources'>) =>
    unknownGpuProblem(container.resources, annotations, config.gpuResourceTypes ?? []);

  if ((workerSpec.containers ?? []).length > 1) {
    return wrong('setting multiple containers in workerSpec is not allowed');
  }
  const inModel =
    model === undefined
      ? null
      : (parallelSizeProblem(model) ??
        gpu(model) ??
        storageProblem(model) ??
        autoscalerProblem(annotations[autoscalerClassAnnotation] ?? ''));
  const problem = inModel ?? sizeProblem(workerSpec) ?? firstProblem(workerSpec.containers ?? [], gpu);
  return problem === null ? null : wrong(problem);
}

type WorkerSpec = NonNullable<Predictor['workerSpec']>;

function sizeProblem({
  pipelineParallelSize: pipeline = 1,
  tensorParallelSize: tensor = 1,
}: WorkerSpec): string | null {
  if (pipeline < 1) return `WorkerSpec.PipelineParallelSize cannot be less than 1(${pipeline})`;
  return tensor < 1 ? `WorkerSpec.TensorParallelSize cannot be less than 1(${tensor})` : null;
}

function firstProblem<T>(items: readonly T[], check: (item: T) => string | null): string | null {
  for (const item of items) {
    const problem = check(item);
    if (problem !== null) return problem;
  }
  return null;
}

/** The sizes are set by the controller; a variable of the service's own would contradict it. */
function parallelSizeProblem(model: Model): string | null {
  for (const name of ['PIPELINE_PARALLEL_SIZE', 'TENSOR_PARALLEL_SIZE']) {
    if ((model.env ?? []).some((variable) => variable.name === name)) {
      return `setting ${name} in environment variables is not allowed`;
    }
  }
  return null;
}

function storageProblem({ storageUri }: Model): string | null {
  if (storageUri === undefined) return 'StorageURI must be set for multinode enabled';
  const [scheme = ''] = storageUri.split('://');
  return scheme === 'pvc' ? null : `Multinode only supports 'pvc' Storage Protocol(${scheme})`;
}

function autoscalerProblem(autoscalerClass: string): string | null {
  return autoscalerClass === 'none' ? null : `Multinode only supports 'none' autoscaler(${autoscalerClass})`;
}
