import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract, list } from 'tar';
import { openPromise, type Entry, type ZipFile } from 'yauzl';
import { MusterError, messageOf } from '../../../domain/errors.ts';
import type { ArchiveKind } from '../../../domain/storage/archive.ts';
import { isRelativePath } from '../../../domain/storage/uri.ts';
import { fromSystem } from '../failures.ts';
import type { StorageLimits } from './fetcher.ts';

/** Unpacks `archive`, which lies in `dir`, in its place. Everything in it is checked before it is used. */
export async function unpack(
  archive: string,
  kind: ArchiveKind,
  dir: string,
  options: { readonly limits: StorageLimits; readonly signal: AbortSignal },
): Promise<void> {
  const target = `${dir}.unpacked`;
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true, mode: 0o700 });
  const check = entryCheck(options.limits);
  try {
    if (kind === 'tar') await unpackTar(archive, target, check);
    else await unzip(archive, target, { check, signal: options.signal });
  } catch (error) {
    throw options.signal.aborted ? error : unpackFailure(error);
  }
  await rm(dir, { recursive: true });
  await rename(target, dir);
}

/** What is wrong with an archive, in our words; the zip reader refuses escaping names itself. */
export function unpackFailure(error: unknown): Error {
  if (error instanceof MusterError) return error;
  const system = fromSystem(error);
  if (system) return system;
  const message = messageOf(error);
  if (/relative path|absolute path|invalid characters in fileName/.test(message)) {
    return new MusterError(
      'storage_forbidden',
      `The archive is refused: ${message} would leave the model folder.`,
    );
  }
  return new MusterError(
    'storage_not_supported',
    'Failed to unpack archive file. The file format is not valid.',
    { cause: error },
  );
}

/** Name, kind and size of an entry; throws at the first that is not acceptable. @returns its clean path */
type Check = (name: string, kind: 'file' | 'folder' | 'other', sizeBytes: number) => string;

function entryCheck(limits: StorageLimits): Check {
  let bytes = 0;
  let files = 0;
  return (name, kind, sizeBytes) => {
    const path = name.replace(/^(\.\/)+/, '').replace(/\/+$/, '');
    if (!(kind === 'folder' && (path === '' || path === '.')) && !isRelativePath(path)) {
      throw new MusterError(
        'storage_forbidden',
        `The archive is refused: '${name}' would leave the model folder.`,
      );
    }
    if (kind === 'other') {
      throw new MusterError('storage_forbidden', `The archive is refused: '${name}' is a link or a device.`);
    }
    files += 1;
    bytes += sizeBytes;
    if (files > limits.maxFiles) {
      throw new MusterError('storage_forbidden', `The archive holds more than ${limits.maxFiles} entries.`);
    }
    if (bytes > limits.maxBytes) {
      throw new MusterError(
        'storage_forbidden',
        `The archive unpacks to more than ${limits.maxBytes} bytes.`,
      );
    }
    return path;
  };
}

/** Checked in a first pass, so that a bad archive writes nothing. */
async function unpackTar(archive: string, target: string, check: Check): Promise<void> {
  let refusal: unknown;
  await list({
    file: archive,
    strict: true,
    onReadEntry: (entry) => {
      if (refusal !== undefined) return;
      try {
        check(entry.path, tarKind(entry.type), entry.size);
      } catch (error) {
        refusal = error;
      }
    },
  });
  if (refusal !== undefined) throw refusal as Error;
  await extract({ file: archive, cwd: target, strict: true, preserveOwner: false, noMtime: true });
}

function tarKind(type: string): 'file' | 'folder' | 'other' {
  if (type === 'File' || type === 'OldFile' || type === 'ContiguousFile') return 'file';
  return type === 'Directory' ? 'folder' : 'other';
}

interface UnzipOptions {
  readonly check: Check;
  readonly signal: AbortSignal;
  /** Which entries to write, and where; null leaves one out. All by default. */
  readonly place?: (path: string) => string | null;
}

/** Writes a zip's files below `target`. @returns how many */
export async function unzip(archive: string, target: string, options: UnzipOptions): Promise<number> {
  const zip = await openPromise(archive, { strictFileNames: true, validateEntrySizes: true });
  let written = 0;
  try {
    for await (const entry of zip.eachEntry()) {
      options.signal.throwIfAborted();
      const kind = zipKind(entry);
      const path = options.check(entry.fileName, kind, entry.uncompressedSize);
      const place = kind === 'folder' ? null : options.place ? options.place(path) : path;
      if (place === null) continue;
      await writeEntry(zip, entry, join(target, place));
      written += 1;
    }
  } finally {
    zip.close();
  }
  return written;
}

/** As `unzip`, for one file or folder of a zip. */
export async function unzipPart(
  archive: string,
  target: string,
  options: {
    readonly limits: StorageLimits;
    readonly signal: AbortSignal;
    readonly place: (path: string) => string | null;
  },
): Promise<number> {
  const { limits, signal, place } = options;
  return await unzip(archive, target, { check: entryCheck(limits), signal, place });
}

async function writeEntry(zip: ZipFile, entry: Entry, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const from = await zip.openReadStreamPromise(entry);
  // wx: the same name twice in an archive is refused.
  await pipeline(from, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
}

function zipKind(entry: Entry): 'file' | 'folder' | 'other' {
  if (entry.fileName.endsWith('/')) return 'folder';
  const type = (entry.externalFileAttributes >>> 16) & 0o170000;
  return type === 0 || type === 0o100000 ? 'file' : 'other';
}
