import type { InferenceService } from './inference-service.schema.ts';

/**
 * `storageUris` came with v0.16: its own admission checks, in its words, after all of v0.15's. Two sources may
 * share a folder, as KServe's default mount path gives them one.
 */
export function storageUrisProblem({ spec }: InferenceService): string | null {
  const { model } = spec.predictor;
  if (model?.storageUris === undefined) return null;
  if (model.storageUri !== undefined) return 'Setting both StorageURI and StorageURIs is not supported.';
  for (const { uri, mountPath = '/mnt/models' } of model.storageUris) {
    if (uri === '') return 'storage URI cannot be empty';
    if (mountPath === '/') return 'storage path cannot be empty';
    if (!mountPath.startsWith('/')) return `storage path must be absolute: ${mountPath}`;
    if (mountPath.includes('..'))
      return `storage path cannot contain '..' for security reasons: ${mountPath}`;
  }
  return null;
}
