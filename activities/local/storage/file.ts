import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { MusterError, codeOf } from '../../../domain/errors.ts';
import { sha256 } from './content.ts';
import type { Fetched, FetchTask, StorageLimits } from './fetcher.ts';

/**
 * file:// and absolute paths. The files are copied (by reference where the file system can), never linked: an edit
 * in place would reach a running server through a link.
 */
interface Found {
  /** The real file. */
  readonly from: string;
  /** Its path in the model folder. */
  readonly to: string;
  readonly stamp: string;
  readonly sizeBytes: number;
}

const maxDepth = 64;

export async function fetchFile(path: string, root: string, task: FetchTask): Promise<Fetched> {
  const source = resolve(root, path);
  const found = await list(source, task.limits);
  const validator = stampOf(found);
  if (validator === task.known) return { unchanged: true };
  const total = found.reduce((sum, file) => sum + file.sizeBytes, 0);
  let done = 0;
  for (const file of found) {
    task.signal.throwIfAborted();
    task.report({ done, total, message: `copying ${file.to}` });
    const target = join(task.staging, 'files', file.to);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(file.from, target, constants.COPYFILE_FICLONE);
    done += file.sizeBytes;
  }
  if (stampOf(await list(source, task.limits)) !== validator) {
    throw new MusterError('storage_unavailable', `${source} was changed while it was copied.`);
  }
  return { unchanged: false, validator };
}

function stampOf(found: readonly Found[]): string {
  return sha256(found.map((file) => `${file.to}\n${file.stamp}\n`).join(''));
}

async function list(source: string, limits: StorageLimits): Promise<readonly Found[]> {
  try {
    const top = await realpath(source);
    const info = await stat(top);
    if (info.isFile()) return [describe(top, basename(source), info)];
    const found: Found[] = [];
    await walk({ top, found, limits }, top, '', 0);
    if (found.length === 0) throw new MusterError('storage_not_found', `There are no files in ${source}.`);
    return found.sort((a, b) => (a.to < b.to ? -1 : 1));
  } catch (error) {
    throw plain(source, error);
  }
}

async function walk(
  tree: { readonly top: string; readonly found: Found[]; readonly limits: StorageLimits },
  folder: string,
  prefix: string,
  depth: number,
): Promise<void> {
  if (depth > maxDepth) throw new MusterError('storage_forbidden', `${folder} is nested too deeply.`);
  for (const entry of await readdir(folder)) {
    const from = await realpath(join(folder, entry));
    if (from !== tree.top && !from.startsWith(`${tree.top}${sep}`)) {
      throw new MusterError(
        'storage_forbidden',
        `${join(folder, entry)} is a link out of the model's folder; copy the file into it.`,
      );
    }
    const info = await stat(from);
    const to = prefix === '' ? entry : `${prefix}/${entry}`;
    if (info.isDirectory()) await walk(tree, from, to, depth + 1);
    else if (info.isFile()) tree.found.push(describe(from, to, info));
    else throw new MusterError('storage_forbidden', `${join(folder, entry)} is not a plain file.`);
    if (tree.found.length > tree.limits.maxFiles) {
      throw new MusterError(
        'storage_forbidden',
        `${tree.top} holds more than ${String(tree.limits.maxFiles)} files.`,
      );
    }
  }
}

function describe(from: string, to: string, info: { size: number; mtimeMs: number; ino: number }): Found {
  return { from, to, sizeBytes: info.size, stamp: [info.size, info.mtimeMs, info.ino].join(' ') };
}

function plain(source: string, error: unknown): unknown {
  const code = codeOf(error);
  const cause = { cause: error };
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new MusterError('storage_not_found', `There is no file or folder ${source} on this node.`, cause);
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new MusterError('storage_forbidden', `The node agent may not read ${source}.`, cause);
  }
  if (code === 'ELOOP')
    return new MusterError('storage_forbidden', `${source} holds links in a circle.`, cause);
  return error;
}
