import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { MusterError } from '../../domain/errors.ts';
import { acquireLock, readLock, releaseLock } from '../up/lock.ts';
import { identify } from '../up/process-identity.ts';

export interface FolderLock {
  release(): void;
}

/**
 * Takes the exclusive lock of a store's folder: a file beside it that names its owner by pid and start time, so that
 * a lock whose owner is dead (kill -9) is taken over, and one that lives is respected.
 *
 * @throws MusterError already_running when a living process holds it
 */
export function lockFolder(path: string): FolderLock {
  const self = identify(process.pid);
  if (self === null) {
    throw new MusterError(
      'internal',
      'This machine does not tell when a process started, so the store cannot be locked.',
    );
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    const owner = acquireLock(path, self, new Date());
    return {
      release: () => {
        releaseLock(path, owner);
      },
    };
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'already_running') throw error;
    const holder = readLock(path);
    throw new MusterError(
      'already_running',
      `The store is in use by ${holder === null ? 'another process' : `process ${holder.pid}`} (lock file ${path}). ` +
        'Stop it first (muster down), or use another data folder (MUSTER_DATA_DIR).',
      { cause: error },
    );
  }
}
