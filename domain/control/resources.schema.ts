import { z } from 'zod';
import type { InferenceService as StoredInferenceService } from '../inference-service/inference-service.schema.ts';
import { InferenceService, InferenceServiceStatus } from '../inference-service/inference-service.schema.ts';
import { ClusterServingRuntime, ServingRuntime } from '../serving-runtime/serving-runtime.schema.ts';

/** Bodies of the public routes under /apis/serving.kserve.io, in the list shape of Kubernetes and KServe. */

/** An InferenceService as it is answered: with namespace, and with the status that its workflow wrote. */
export const AnsweredInferenceService = InferenceService.extend({
  status: InferenceServiceStatus.loose().optional(),
});

export const InferenceServiceList = z.object({
  apiVersion: z.literal('serving.kserve.io/v1beta1'),
  kind: z.literal('InferenceServiceList'),
  metadata: z.object({}),
  items: z.array(AnsweredInferenceService),
});

export const ServingRuntimeList = z.object({
  apiVersion: z.literal('serving.kserve.io/v1alpha1'),
  kind: z.literal('ServingRuntimeList'),
  metadata: z.object({}),
  items: z.array(ServingRuntime),
});
export const ClusterServingRuntimeList = z.object({
  apiVersion: z.literal('serving.kserve.io/v1alpha1'),
  kind: z.literal('ClusterServingRuntimeList'),
  metadata: z.object({}),
  items: z.array(ClusterServingRuntime),
});

/** PUT /internal/inferenceservices/{ns}/{name}: what a workflow publishes about its service. */
export const PublishedObject = z.object({
  object: AnsweredInferenceService,
  phase: z.string(),
});
/** The type says what is stored; the schema above is looser, so that a newer worker's status is kept. */
export interface PublishedObject {
  readonly object: StoredInferenceService;
  readonly phase: string;
}
