import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  constants,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { MusterError, messageOf } from '../../domain/errors.ts';
import { dataFolder, type DataFolder } from '../../domain/process/data-folder.ts';

/** What a data folder looks like inside. Grows when an older Muster could no longer use it. */
export const dataFormat = 1;

/**
 * Makes the data folder and its tokens, or checks an existing one. Only the user may look into it.
 * @throws MusterError when it cannot be written or a newer Muster made it
 */
export function prepareFolder(root: string, version: string): DataFolder {
  const folder = dataFolder(root);
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    if ((statSync(root).mode & 0o077) !== 0) chmodSync(root, 0o700);
    accessSync(root, constants.R_OK | constants.W_OK | constants.X_OK);
    checkFormat(root, version);
    for (const path of [folder.run, folder.logs, folder.programs, dirname(folder.temporalDatabase)]) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    makeToken(folder.token);
    makeToken(folder.internalToken);
  } catch (error) {
    if (error instanceof MusterError) throw error;
    const why = messageOf(error);
    throw new MusterError(
      'internal',
      `The data folder ${root} cannot be used (${why}). Set MUSTER_DATA_DIR to a folder that you may write.`,
      { cause: error },
    );
  }
  return folder;
}

/** An older folder is taken over: each process migrates its own files when it opens them. */
function checkFormat(root: string, version: string): void {
  const file = `${root}/version`;
  const mine = `${JSON.stringify({ dataFormat, muster: version })}\n`;
  const found = readFormat(file);
  if (found !== null && found.dataFormat > dataFormat) {
    throw new MusterError(
      'conflict',
      `The data folder ${root} was made by a newer Muster (${found.muster}, data format ${found.dataFormat}; ` +
        `this one knows up to ${dataFormat}). Update Muster, or set MUSTER_DATA_DIR to another folder.`,
    );
  }
  if (found?.dataFormat !== dataFormat || found.muster !== version)
    writeFileSync(file, mine, { mode: 0o600 });
}

function readFormat(file: string): { readonly dataFormat: number; readonly muster: string } | null {
  try {
    const { dataFormat: format, muster } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    return { dataFormat: Number(format), muster: String(muster) };
  } catch {
    return null;
  }
}

/** The token appears whole or not at all: a reader never sees half of one. */
function makeToken(file: string): void {
  if (isToken(file)) {
    if ((statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
    return;
  }
  rmSync(file, { force: true });
  const finished = `${file}.${randomBytes(4).toString('hex')}`;
  writeFileSync(finished, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx' });
  try {
    linkSync(finished, file);
  } finally {
    rmSync(finished, { force: true });
  }
}

function isToken(file: string): boolean {
  try {
    return /^[0-9a-f]{64}\s*$/.test(readFileSync(file, 'utf8'));
  } catch {
    return false;
  }
}
