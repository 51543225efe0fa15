import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService, kindByName, pathOf, type Kind } from '../kinds.ts';
import { viewOf, type AnyObject } from '../objects.ts';
import { renderTable } from '../table.ts';

export interface GetOptions {
  readonly output?: string;
  readonly allNamespaces?: boolean;
  readonly watch?: boolean;
}

const WATCH_EVERY_MS = 500;

/** `muster get [KIND] [NAME]`, kind and name also as KIND/NAME; a lone word that is no kind is a service's name. */
export async function get(context: Context, words: readonly string[], options: GetOptions): Promise<void> {
  const { kind, name } = target(words);
  if (options.watch === true) return watch(context, kind, name, options);
  const found = await fetchObjects(context, kind, name, options);
  print(context, kind, found, name !== undefined, options);
}

export function target(words: readonly string[]): { readonly kind: Kind; readonly name: string | undefined } {
  const [first, second] = words.length === 1 ? (words[0] ?? '').split('/', 2) : words;
  if (first === undefined || first === '') return { kind: inferenceService, name: undefined };
  if (second !== undefined) return { kind: kindByName(first), name: second };
  try {
    return { kind: kindByName(first), name: undefined };
  } catch {
    return { kind: inferenceService, name: first };
  }
}

async function fetchObjects(
  context: Context,
  kind: Kind,
  name: string | undefined,
  options: GetOptions,
): Promise<readonly AnyObject[]> {
  if (name !== undefined)
    return [(await context.api.get(pathOf(kind, context.namespace, name))) as AnyObject];
  const scope = options.allNamespaces === true ? null : context.namespace;
  const list = (await context.api.get(pathOf(kind, scope))) as { items: readonly AnyObject[] };
  return list.items;
}

function print(
  context: Context,
  kind: Kind,
  objects: readonly AnyObject[],
  isOne: boolean,
  options: GetOptions,
): void {
  const format = options.output ?? '';
  if (format === 'json' || format === 'yaml') {
    const list = { apiVersion: kind.group, kind: `${kind.kind}List`, metadata: {}, items: objects };
    const value = isOne ? objects[0] : list;
    context.print(format === 'json' ? JSON.stringify(value, null, 2) : stringify(value).trimEnd());
    return;
  }
  if (format === 'name') {
    for (const { metadata } of objects) context.print(`${kind.plural}/${metadata.name}`);
    return;
  }
  if (objects.length === 0) {
    const where =
      options.allNamespaces === true || !kind.isNamespaced ? '' : ` in namespace ${context.namespace}`;
    context.note(`No ${kind.kind} was found${where}.`);
    return;
  }
  const { head, rows } = table(kind, objects, options);
  context.print(renderTable(head, rows));
}

function table(kind: Kind, objects: readonly AnyObject[], options: GetOptions) {
  if (options.output !== undefined && options.output !== 'wide') {
    throw new CliError(`-o ${options.output} is not known. Known: json, yaml, wide, name.`, exitCodes.usage);
  }
  const view = viewOf(kind, options.output === 'wide');
  const withNamespace = options.allNamespaces === true && kind.isNamespaced;
  const now = new Date();
  const sorted = [...objects].sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
  return {
    head: withNamespace ? ['NAMESPACE', ...view.head] : view.head,
    rows: sorted.map((o) => [...(withNamespace ? [o.metadata.namespace ?? ''] : []), ...view.row(o, now)]),
  };
}

const keyOf = ({ metadata }: AnyObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;

/** Prints a line for each object that changed, until Ctrl-C; the age alone is no change. */
async function watch(
  context: Context,
  kind: Kind,
  name: string | undefined,
  options: GetOptions,
): Promise<void> {
  const seen = new Map<string, string>();
  for (;;) {
    const objects = await fetchObjects(context, kind, name, options);
    const { head, rows } = table(kind, objects, options);
    const age = head.indexOf('AGE');
    const changed = rows.filter((row) => {
      const key = row.slice(0, 2).join('/');
      const now = row.filter((_, column) => column !== age).join('|');
      if (seen.get(key) === now) return false;
      seen.set(key, now);
      return true;
    });
    if (changed.length > 0) context.print(renderTable(head, changed));
    await sleep(WATCH_EVERY_MS);
  }
}
