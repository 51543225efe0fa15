import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MusterError, codeOf } from '../../domain/errors.ts';

const attemptsMax = 20;
const pauseMs = 50;

/**
 * Reads the token of a file, and makes it (32 random bytes, mode 0600) when it is absent. Several processes may do so
 * at once: a token appears whole, by a link to a finished file, and the first one wins.
 */
export async function readOrMakeToken(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const token = await read(path);
    if (token !== null) return token;
    await make(path);
    // Someone else may be writing the file in place: give it the time to finish.
    if (attempt > 1) await sleep(pauseMs);
  }
  throw new MusterError('internal', `The token file ${path} is empty. Remove it, and a new one is made.`);
}

async function read(path: string): Promise<string | null> {
  try {
    const text = (await readFile(path, 'utf8')).trim();
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) await chmod(path, 0o600);
    return text === '' ? null : text;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

async function make(path: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx' });
  try {
    await link(draft, path);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
}
