import type { InferenceService } from './inference-service.schema.ts';

/**
 * One text for one value: keys sorted, absent and undefined alike. Equal texts mean equal values, so it serves
 * comparison, digests and golden files.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value)) ?? 'null';
}

/**
 * Whether two objects ask for the same thing: spec, labels and annotations. Generation, status and the other
 * bookkeeping of metadata do not count.
 */
export function sameDesired(a: InferenceService, b: InferenceService): boolean {
  return canonicalJson(desired(a)) === canonicalJson(desired(b));
}

function desired(object: InferenceService): unknown {
  const { labels, annotations } = object.metadata;
  return { spec: object.spec, labels: labels ?? {}, annotations: annotations ?? {} };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  // Entries, not assignment: a key named __proto__ must stay a key.
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
