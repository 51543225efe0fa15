import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MusterError } from '../../domain/errors.ts';
import { processStart } from './process-identity.ts';

export interface FolderLock {
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  readonly start: string;
}

const attemptsMax = 5;

/**
 * Takes the exclusive lock of a store's folder: a file beside it that names its owner by pid and start time. The file
 * appears whole (made elsewhere, then linked), and a lock whose owner is dead is taken over.
 *
 * @throws MusterError already_running when a living process holds it
 */
export async function lockFolder(path: string): Promise<FolderLock> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const start = await processStart(process.pid);
  const mine = JSON.stringify({ pid: process.pid, start: start ?? '' } satisfies Owner);
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, mine, { mode: 0o600 });
  try {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      if (await linked(draft, path)) return { release: () => release(path, mine) };
      await removeWhenStale(path);
    }
    throw inUse(path, null);
  } finally {
    await rm(draft, { force: true });
  }
}

async function linked(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Moves a dead owner's file away; the move is checked, since a third process may have been quicker. */
async function removeWhenStale(path: string): Promise<void> {
  const seen = await readOrNull(path);
  if (seen === null) return;
  const owner = parseOwner(seen);
  if (owner !== null && (await processStart(owner.pid)) === owner.start) throw inUse(path, owner.pid);
  const away = `${path}.stale.${process.pid}`;
  try {
    await rename(path, away);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  const moved = await readOrNull(away);
  if (moved !== seen) await link(away, path).catch(() => undefined);
  await rm(away, { force: true });
}

async function release(path: string, mine: string): Promise<void> {
  if ((await readOrNull(path)) === mine) await rm(path, { force: true });
}

function inUse(path: string, pid: number | null): MusterError {
  const who = pid === null ? 'another process' : `process ${pid}`;
  return new MusterError(
    'already_running',
    `The store is in use by ${who} (lock file ${path}). Stop it first (muster down), or use another data folder (MUSTER_DATA_DIR).`,
  );
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function parseOwner(text: string): Owner | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return null;
    const { pid, start } = value as Partial<Owner>;
    return typeof pid === 'number' && typeof start === 'string' ? { pid, start } : null;
  } catch {
    return null;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
