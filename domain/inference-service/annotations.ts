/** Annotations of KServe and Knative that several rules read. */
export const autoscalerClassAnnotation = 'serving.kserve.io/autoscalerClass';
export const gpuResourceTypesAnnotation = 'serving.kserve.io/gpu-resource-types';
/** Muster's own: `"true"` hands the caller's Authorization header on to the service's servers. */
export const passAuthorizationAnnotation = 'muster.dev/pass-authorization';
export const knativeClassAnnotation = 'autoscaling.knative.dev/class';
