import { z } from 'zod';
import { Container, EnvVar, Metadata, podShape } from '../inference-service/kubernetes.schema.ts';

/** serving.kserve.io/v1alpha1 ServingRuntime and ClusterServingRuntime: shape only, KServe v0.15's field names. */
const runtimePod = {
  containers: z.array(Container),
  volumes: podShape.volumes,
  nodeSelector: podShape.nodeSelector,
  affinity: podShape.affinity,
  tolerations: podShape.tolerations,
  imagePullSecrets: podShape.imagePullSecrets,
  hostIPC: podShape.hostIPC,
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
};

export const ServingRuntimeSpec = z.strictObject({
  ...runtimePod,
  supportedModelFormats: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        version: z.string().optional(),
        autoSelect: z.boolean().optional(),
        priority: z.int().min(1).optional(),
      }),
    )
    .optional(),
  multiModel: z.boolean().optional(),
  disabled: z.boolean().optional(),
  protocolVersions: z.array(z.string()).optional(),
  workerSpec: z
    .strictObject({
      ...runtimePod,
      containers: z.array(Container).optional(),
      pipelineParallelSize: z.int().optional(),
      tensorParallelSize: z.int().optional(),
    })
    .optional(),
  grpcEndpoint: z.string().optional(),
  grpcDataEndpoint: z.string().optional(),
  httpDataEndpoint: z.string().optional(),
  replicas: z.int().min(0).optional(),
  storageHelper: z.strictObject({ disabled: z.boolean().optional() }).optional(),
  builtInAdapter: z
    .strictObject({
      serverType: z.string().optional(),
      runtimeManagementPort: z.int().optional(),
      memBufferBytes: z.int().optional(),
      modelLoadingTimeoutMillis: z.int().optional(),
      env: z.array(EnvVar).optional(),
    })
    .optional(),
});
export type ServingRuntimeSpec = z.infer<typeof ServingRuntimeSpec>;

const common = {
  apiVersion: z.literal('serving.kserve.io/v1alpha1'),
  metadata: Metadata,
  spec: ServingRuntimeSpec,
  status: z.unknown().optional(),
};
export const ServingRuntime = z.strictObject({ ...common, kind: z.literal('ServingRuntime') });
export type ServingRuntime = z.infer<typeof ServingRuntime>;
export const ClusterServingRuntime = z.strictObject({ ...common, kind: z.literal('ClusterServingRuntime') });
export type ClusterServingRuntime = z.infer<typeof ClusterServingRuntime>;

/** GET /internal/runtimes: all that selection may choose from. */
export const RuntimeLists = z.object({
  servingRuntimes: z.array(ServingRuntime),
  clusterServingRuntimes: z.array(ClusterServingRuntime),
});
export type RuntimeLists = z.infer<typeof RuntimeLists>;
