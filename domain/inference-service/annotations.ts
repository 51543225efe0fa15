/** Annotations of KServe and Knative that several rules read. */
export const autoscalerClassAnnotation = 'serving.kserve.io/autoscalerClass';
export const gpuResourceTypesAnnotation = 'serving.kserve.io/gpu-resource-types';
export const knativeClassAnnotation = 'autoscaling.knative.dev/class';
