import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, extname, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { parseAllDocuments } from 'yaml';
import type { Io } from './context.ts';
import { CliError, exitCodes } from './exit-codes.ts';
import { kindOfManifest, kinds, type Kind } from './kinds.ts';

/** One object to deploy, ready to be sent. */
export interface Manifest {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly object: Readonly<Record<string, unknown>>;
  /** For messages: file, and number of the document when there are several. */
  readonly source: string;
  /** Local paths of models that do not exist. */
  readonly missing: readonly string[];
}

type Json = Record<string, unknown>;

/** Reads files, folders (their .yaml, .yml and .json files) and `-` for standard input. */
export async function readManifests(
  files: readonly string[],
  namespace: string,
  io: Pick<Io, 'cwd' | 'stdin'>,
): Promise<readonly Manifest[]> {
  const manifests: Manifest[] = [];
  for (const file of files) {
    if (file === '-') {
      manifests.push(...parse(await text(io.stdin), 'standard input', io.cwd, namespace));
      continue;
    }
    for (const path of expand(resolve(io.cwd, file), file)) {
      manifests.push(...parse(readFileSync(path, 'utf8'), path, dirname(path), namespace));
    }
  }
  if (manifests.length === 0) {
    throw new CliError(`There is no manifest in ${files.join(', ')}.`, exitCodes.refused);
  }
  return manifests;
}

/** Turns the object of one manifest (or one made from options) into what is sent. */
export function prepareManifest(object: Json, source: string, folder: string, namespace: string): Manifest {
  const { apiVersion, kind: kindName } = object;
  const kind = kindOfManifest(String(apiVersion), String(kindName));
  if (kind === null) {
    const known = kinds.map((k) => `${k.kind} (${k.group})`).join(', ');
    throw new CliError(
      `${source}: kind ${String(kindName)} of ${String(apiVersion)} is not known. Known: ${known}.`,
      exitCodes.refused,
    );
  }
  const metadata = isJson(object['metadata']) ? object['metadata'] : {};
  const name = metadata['name'];
  if (typeof name !== 'string' || name === '') {
    throw new CliError(`${source}: metadata.name is missing.`, exitCodes.refused);
  }
  const own = typeof metadata['namespace'] === 'string' ? metadata['namespace'] : namespace;
  const missing: string[] = [];
  const resolved = absoluteUris(object, folder, missing) as Json;
  const placed = kind.isNamespaced ? { ...resolved, metadata: { ...metadata, namespace: own } } : resolved;
  return { kind, namespace: own, name, object: placed, source, missing };
}

function expand(path: string, given: string): readonly string[] {
  if (!existsSync(path)) throw new CliError(`${given} does not exist.`, exitCodes.refused);
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .filter((name) => ['.yaml', '.yml', '.json'].includes(extname(name)))
    .sort()
    .map((name) => join(path, name));
}

function parse(content: string, source: string, folder: string, namespace: string): readonly Manifest[] {
  const documents = parseAllDocuments(content);
  if ('empty' in documents) return [];
  const many = documents.length > 1;
  return documents.flatMap((document, index) => {
    const where = many ? `${source} (document ${index + 1})` : source;
    const error = document.errors[0];
    if (error !== undefined) throw new CliError(`${where}: ${firstLine(error.message)}`, exitCodes.refused);
    const object: unknown = document.toJS();
    if (object === null || object === undefined) return [];
    if (!isJson(object)) throw new CliError(`${where} is not a manifest.`, exitCodes.refused);
    const items =
      String(object['kind']).endsWith('List') && Array.isArray(object['items']) ? object['items'] : [object];
    return items.filter(isJson).map((item) => prepareManifest(item, where, folder, namespace));
  });
}

/**
 * A path without a scheme is relative to its manifest, and this command's folder means nothing to the node that
 * fetches it: so it becomes an absolute file:// URI here.
 */
function absoluteUris(value: unknown, folder: string, missing: string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => absoluteUris(item, folder, missing));
  if (!isJson(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (key === 'storageUri' && typeof inner === 'string') return [key, absolute(inner, folder, missing)];
      if (key === 'storageUris' && Array.isArray(inner)) {
        const entries = inner.map((entry: unknown) =>
          isJson(entry) && typeof entry['uri'] === 'string'
            ? { ...entry, uri: absolute(entry['uri'], folder, missing) }
            : entry,
        );
        return [key, entries];
      }
      return [key, absoluteUris(inner, folder, missing)];
    }),
  );
}

function absolute(uri: string, folder: string, missing: string[]): string {
  if (uri === '' || /^\w[\w+.-]*:\/\//.test(uri) || uri.includes('{{')) return uri;
  const path = resolve(folder, uri);
  if (!existsSync(path)) missing.push(path);
  return pathToFileURL(path).href;
}

const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const firstLine = (message: string): string => message.split('\n')[0] ?? message;
