import type { AnyRuntime } from './select.ts';

/** KServe's admission checks of a (cluster) serving runtime, and our own. First bodies below. */
export function validateServingRuntime(
  next: AnyRuntime,
  existing: readonly AnyRuntime[],
  previous?: AnyRuntime,
): string | null {
  if (next.spec.disabled === true) return null;
  if (previous?.spec.workerSpec !== undefined && next.spec.workerSpec === undefined) {
    return `the ${next.kind} ${next.metadata.name} is invalid: removing workerSpec where it already exists is not allowed`;
  }
  void existing;
  return null;
}
