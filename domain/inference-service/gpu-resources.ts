import { gpuResourceTypesAnnotation } from './annotations.ts';
import type { Container } from './kubernetes.schema.ts';

const ordinary = ['cpu', 'memory', 'storage', 'ephemeral-storage'];
const gpus = ['nvidia.com/gpu', 'amd.com/gpu', 'intel.com/gpu', 'habana.ai/gaudi'];

/**
 * KServe counts GPUs by resource name, so a name that it does not know is refused rather than counted as none.
 *
 * @param extra names that the cluster's configuration adds; the object's annotation adds more
 */
export function unknownGpuProblem(
  resources: Container['resources'],
  annotations: Readonly<Record<string, string>>,
  extra: readonly string[],
): string | null {
  const annotated = annotations[gpuResourceTypesAnnotation];
  const own = annotated === undefined ? [] : parseList(annotated);
  if (own === null) {
    return (
      `invalid GPU format(${annotated ?? ''}) for ${gpuResourceTypesAnnotation} annotation: ` +
      'must be a valid JSON array'
    );
  }
  if (!hasUnknownGpu(resources, [...own, ...extra])) return null;
  return `Unknown GPU resource type. Set '${gpuResourceTypesAnnotation}' annotation to use custom gpu resource type`;
}

/** Whether a container asks for a resource that is neither ordinary nor a known GPU. */
export function hasUnknownGpu(resources: Container['resources'], extra: readonly string[]): boolean {
  const known = new Set([...ordinary, ...gpus, ...extra]);
  const asked = [...Object.keys(resources?.limits ?? {}), ...Object.keys(resources?.requests ?? {})];
  return asked.some((name) => !known.has(name));
}

function parseList(text: string): string[] | null {
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) && parsed.every((item) => typeof item === 'string') ? parsed : null;
  } catch {
    return null;
  }
}
