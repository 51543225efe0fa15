import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { tailLog } from './log-file.ts';

export interface FollowOptions {
  readonly tail: number;
  readonly tailBytes: number;
  readonly signal: AbortSignal;
}

const pollMs = 200;
const chunkBytes = 64 * 1024;

/** The last lines of a log and then all that is appended, until the signal. A file that was cut starts over. */
export async function* followLog(path: string, options: FollowOptions): AsyncGenerator<string | Buffer> {
  const file = await open(path, 'r');
  try {
    let { size: offset } = await file.stat();
    const tail = await tailLog(path, options.tail, options.tailBytes);
    if (tail !== '') yield tail;
    const buffer = Buffer.alloc(chunkBytes);
    while (!options.signal.aborted) {
      const { size } = await file.stat();
      if (size < offset) offset = 0;
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, offset);
      offset += bytesRead;
      // A copy: the reader may hold it while the next one is read.
      if (bytesRead > 0) yield Buffer.from(buffer.subarray(0, bytesRead));
      else await sleep(pollMs, undefined, { signal: options.signal }).catch(() => undefined);
    }
  } finally {
    await file.close();
  }
}
