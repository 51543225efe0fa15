import { canonicalJson } from '../inference-service/equal.ts';
import type { InferenceService } from '../inference-service/inference-service.schema.ts';

/** Paths of the spec, labels and annotations whose values differ, deepest first difference, sorted. */
export function changedPaths(a: InferenceService, b: InferenceService): string[] {
  const paths: string[] = [];
  compare(a.spec, b.spec, 'spec', paths);
  compare(a.metadata.labels ?? {}, b.metadata.labels ?? {}, 'metadata.labels', paths);
  compare(a.metadata.annotations ?? {}, b.metadata.annotations ?? {}, 'metadata.annotations', paths);
  return paths.sort();
}

function compare(a: unknown, b: unknown, path: string, paths: string[]): void {
  if (canonicalJson(a) === canonicalJson(b)) return;
  if (!isObject(a) || !isObject(b)) {
    paths.push(path);
    return;
  }
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    compare(a[key], b[key], `${path}${fieldText(key)}`, paths);
  }
}

function fieldText(key: string): string {
  return /^\w+$/.test(key) ? `.${key}` : `['${key}']`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
