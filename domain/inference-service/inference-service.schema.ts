import { z } from 'zod';
import { Container, Metadata, containerShape, podShape } from './kubernetes.schema.ts';

/**
 * serving.kserve.io/v1beta1 InferenceService, with KServe v0.15's field names (and v0.16's `storageUris`).
 * This is shape only; meaning is checked by `validation.ts` with KServe's own texts. Fields are accepted even
 * where they have no effect yet: `effect.ts` lists those, and a condition reports them.
 */
const StorageSpec = z.strictObject({
  path: z.string().optional(),
  schemaPath: z.string().optional(),
  parameters: z.record(z.string(), z.string()).optional(),
  key: z.string().optional(),
});

const extension = {
  ...containerShape,
  storageUri: z.string().optional(),
  /** v0.16: several sources; `mountPath` below /mnt/models names the folder inside the model folder. */
  storageUris: z.array(z.strictObject({ uri: z.string(), mountPath: z.string().optional() })).optional(),
  runtimeVersion: z.string().optional(),
  protocolVersion: z.string().optional(),
  storage: StorageSpec.optional(),
};
export const PredictorExtension = z.strictObject(extension);
export type PredictorExtension = z.infer<typeof PredictorExtension>;

export const Model = z.strictObject({
  ...extension,
  modelFormat: z.strictObject({ name: z.string().min(1), version: z.string().optional() }),
  runtime: z.string().optional(),
});
export type Model = z.infer<typeof Model>;

const MetricTarget = z.strictObject({
  type: z.string().optional(),
  value: z.union([z.string(), z.number()]).optional(),
  averageValue: z.union([z.string(), z.number()]).optional(),
  averageUtilization: z.int().optional(),
});
const AutoScaling = z.strictObject({
  metrics: z
    .array(
      z.strictObject({
        type: z.string(),
        resource: z.strictObject({ name: z.string(), target: MetricTarget.optional() }).optional(),
        external: z
          .strictObject({
            metric: z.record(z.string(), z.unknown()).optional(),
            target: MetricTarget.optional(),
          })
          .optional(),
        podmetric: z
          .strictObject({
            metric: z.record(z.string(), z.unknown()).optional(),
            target: MetricTarget.optional(),
          })
          .optional(),
      }),
    )
    .optional(),
});

const componentShape = {
  minReplicas: z.int().optional(),
  maxReplicas: z.int().optional(),
  scaleTarget: z.int().optional(),
  scaleMetric: z.enum(['cpu', 'memory', 'concurrency', 'rps']).optional(),
  scaleMetricType: z.enum(['Utilization', 'Value', 'AverageValue']).optional(),
  autoScaling: AutoScaling.optional(),
  containerConcurrency: z.int().optional(),
  timeout: z.int().optional(),
  canaryTrafficPercent: z.int().optional(),
  logger: z
    .strictObject({
      url: z.string().optional(),
      mode: z.string().optional(),
      metadataHeaders: z.array(z.string()).optional(),
      metadataAnnotations: z.array(z.string()).optional(),
    })
    .optional(),
  batcher: z
    .strictObject({
      maxBatchSize: z.int().optional(),
      maxLatency: z.int().optional(),
      timeout: z.int().optional(),
    })
    .optional(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  deploymentStrategy: z.unknown().optional(),
};

const WorkerSpec = z.strictObject({
  ...podShape,
  containers: z.array(Container).optional(),
  pipelineParallelSize: z.int().optional(),
  tensorParallelSize: z.int().optional(),
});

export const Predictor = z.strictObject({
  ...podShape,
  ...componentShape,
  containers: z.array(Container).optional(),
  sklearn: PredictorExtension.optional(),
  xgboost: PredictorExtension.optional(),
  tensorflow: PredictorExtension.optional(),
  pytorch: PredictorExtension.optional(),
  triton: PredictorExtension.optional(),
  onnx: PredictorExtension.optional(),
  huggingface: PredictorExtension.optional(),
  pmml: PredictorExtension.optional(),
  lightgbm: PredictorExtension.optional(),
  paddle: PredictorExtension.optional(),
  model: Model.optional(),
  workerSpec: WorkerSpec.optional(),
});
export type Predictor = z.infer<typeof Predictor>;

export const Transformer = z.strictObject({
  ...podShape,
  ...componentShape,
  containers: z.array(Container).optional(),
});
export type Transformer = z.infer<typeof Transformer>;

export const Explainer = z.strictObject({
  ...podShape,
  ...componentShape,
  containers: z.array(Container).optional(),
  art: z
    .strictObject({ ...extension, type: z.string(), config: z.record(z.string(), z.string()).optional() })
    .optional(),
});
export type Explainer = z.infer<typeof Explainer>;

export const InferenceServiceSpec = z.strictObject({
  predictor: Predictor,
  transformer: Transformer.optional(),
  explainer: Explainer.optional(),
});
export type InferenceServiceSpec = z.infer<typeof InferenceServiceSpec>;

export const Condition = z.object({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  severity: z.string().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  lastTransitionTime: z.string(),
});
export type Condition = z.infer<typeof Condition>;

export const LastFailureInfo = z.object({
  location: z.string().optional(),
  /** ModelLoadFailed, RuntimeUnhealthy, RuntimeDisabled, NoSupportingRuntime, RuntimeNotRecognized, InvalidPredictorSpec. */
  reason: z.string(),
  message: z.string(),
  modelRevisionName: z.string().optional(),
  time: z.string(),
  exitCode: z.int().optional(),
});
export type LastFailureInfo = z.infer<typeof LastFailureInfo>;

const ComponentStatus = z.object({
  latestReadyRevision: z.string().optional(),
  latestCreatedRevision: z.string().optional(),
  previousRolledoutRevision: z.string().optional(),
  latestRolledoutRevision: z.string().optional(),
  traffic: z
    .array(z.object({ revisionName: z.string(), latestRevision: z.boolean(), percent: z.number() }))
    .optional(),
  url: z.string().optional(),
  address: z.object({ url: z.string() }).optional(),
});

const modelState = z.enum(['', 'Pending', 'Standby', 'Loading', 'Loaded', 'FailedToLoad']);
export const ModelStatus = z.object({
  transitionStatus: z.enum(['', 'UpToDate', 'InProgress', 'BlockedByFailedLoad', 'InvalidSpec']),
  states: z.object({ activeModelState: modelState, targetModelState: modelState }),
  lastFailureInfo: LastFailureInfo.optional(),
  copies: z.object({ failedCopies: z.int(), totalCopies: z.int() }).optional(),
});
export type ModelStatus = z.infer<typeof ModelStatus>;

export const InferenceServiceStatus = z.object({
  observedGeneration: z.int().optional(),
  /** Sorted by type, as KServe writes them. */
  conditions: z.array(Condition).optional(),
  url: z.string().optional(),
  address: z.object({ url: z.string() }).optional(),
  components: z.record(z.string(), ComponentStatus).optional(),
  modelStatus: ModelStatus.optional(),
  deploymentMode: z.string().optional(),
});
export type InferenceServiceStatus = z.infer<typeof InferenceServiceStatus>;

export const InferenceService = z.strictObject({
  apiVersion: z.literal('serving.kserve.io/v1beta1'),
  kind: z.literal('InferenceService'),
  metadata: Metadata,
  spec: InferenceServiceSpec,
  /** Ignored on input: only the workflow writes it. */
  status: z.unknown().optional(),
});
/** As stored and answered: namespace and status are filled in. */
export interface InferenceService extends Omit<z.infer<typeof InferenceService>, 'status'> {
  status?: InferenceServiceStatus;
}
