import type { Metadata } from '../inference-service/kubernetes.schema.ts';

/** Placeholders that only the node agent can fill: it knows the folder and picks the ports. */
export const agentPlaceholders = ['ModelDir', 'Port', 'GrpcPort'] as const;

export type Filled<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

type Owner = Pick<Metadata, 'name' | 'namespace' | 'labels' | 'annotations'>;

const action = /\{\{-?\s*(.*?)\s*-?\}\}/gs;
const field = /^\.(Name|Namespace|ModelDir|Port|GrpcPort)$/;
const entry = /^\.(Labels|Annotations)\.([^\s.{}][^\s{}]*)$/;
const indexed = /^index\s+\.(Labels|Annotations)\s+"([^"]+)"$/;

/**
 * Fills KServe's placeholders (`{{.Name}}`, `{{.Namespace}}`, `{{.Labels.x}}`, `{{.Annotations.x}}`, and Go's
 * `{{index .Labels "a/b"}}`) in every string of a value. KServe runs Go's text/template over the container's
 * JSON; walking the strings gives the same and lets a quote in a label stay a quote.
 *
 * A label that the service does not have is a problem here. Go would print "<no value>" into the command line,
 * which starts a server with nonsense.
 */
export function fillPlaceholders<T>(value: T, owner: Owner): Filled<T> {
  const problems: string[] = [];
  const filled = mapStrings(value, (text) =>
    text.replace(action, (whole: string, inner: string) => {
      const found = lookUp(inner, owner, whole);
      if (found.ok) return found.value;
      problems.push(found.problem);
      return whole;
    }),
  ) as T;
  const [problem] = problems;
  return problem === undefined ? { ok: true, value: filled } : { ok: false, problem };
}

/** What is wrong with the placeholders of a runtime, whatever the service: unknown names. Null when nothing. */
export function unknownPlaceholder(value: unknown): string | null {
  let unknown: string | null = null;
  mapStrings(value, (text) => {
    for (const [whole, inner] of text.matchAll(action)) {
      if (unknown === null && inner !== undefined && !isKnown(inner)) unknown = whole;
    }
    return text;
  });
  return unknown;
}

function isKnown(inner: string): boolean {
  return field.test(inner) || entry.test(inner) || indexed.test(inner);
}

function lookUp(inner: string, owner: Owner, whole: string): Filled<string> {
  const name = field.exec(inner)?.[1];
  if (name === 'Name') return { ok: true, value: owner.name };
  if (name === 'Namespace') return { ok: true, value: owner.namespace ?? 'default' };
  // Spaces are taken out, so that the agent has to know one spelling only.
  if (name !== undefined) return { ok: true, value: `{{.${name}}}` };
  const [, map, key] = entry.exec(inner) ?? indexed.exec(inner) ?? [];
  if (map === undefined || key === undefined)
    return { ok: false, problem: `${whole} is not a known placeholder` };
  const values = map === 'Labels' ? owner.labels : owner.annotations;
  const value = values !== undefined && Object.hasOwn(values, key) ? values[key] : undefined;
  if (value !== undefined) return { ok: true, value };
  const kind = map === 'Labels' ? 'label' : 'annotation';
  return {
    ok: false,
    problem: `${whole} asks for the ${kind} "${key}", which the InferenceService does not have`,
  };
}

function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item: unknown) => mapStrings(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapStrings(item, change)]));
}
