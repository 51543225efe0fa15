import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { lineBytesMax } from '../../../domain/batch/lines.ts';
import { MusterError, codeOf } from '../../../domain/errors.ts';
import { splitLines } from './lines.ts';
import type { FileLine } from './lines.ts';

/**
 * Bytes of files in one folder, by id. A file appears whole or not at all: it is written beside, forced to the disk
 * and moved into place. An index of where each hundredth line begins makes a step of a batch read its lines alone.
 */
export interface FileBytes {
  /** @throws MusterError invalid_input when there are more than `bytesMax`, disk_full */
  put(id: string, bytes: AsyncIterable<Uint8Array | string>, bytesMax: number): Promise<number>;
  read(id: string): Promise<{ readonly stream: Readable; readonly bytes: number }>;
  /** All lines in order; empty lines count. @throws MusterError not_found */
  lines(id: string): AsyncIterable<FileLine>;
  /** Lines [from, to), `from` a multiple of a hundred. @throws MusterError not_found */
  someLines(id: string, from: number, to: number): AsyncIterable<string>;
  /** @param offsets of lines 0, 100, 200, … */
  putIndex(id: string, offsets: readonly number[]): Promise<void>;
  remove(id: string): Promise<void>;
}

export const indexEvery = 100;
const idPattern = /^[a-z]+[_-][\w-]{1,120}$/;

export function fileBytes(folder: string): FileBytes {
  const path = (id: string, ending = ''): string => {
    if (!idPattern.test(id)) throw new MusterError('not_found', `No such File object: ${id.slice(0, 200)}`);
    return `${folder}/${id}${ending}`;
  };
  return {
    put: (id, bytes, bytesMax) => put(folder, path(id), bytes, bytesMax),
    async read(id) {
      const { size } = await present(id, () => stat(path(id)));
      return { stream: createReadStream(path(id)), bytes: size };
    },
    async *lines(id) {
      await present(id, () => stat(path(id)));
      yield* splitLines(createReadStream(path(id)), lineBytesMax);
    },
    async *someLines(id, from, to) {
      if (to <= from) return;
      await present(id, () => stat(path(id)));
      const offsets = JSON.parse(await readFile(path(id, '.index'), 'utf8')) as number[];
      const input = createReadStream(path(id), { start: offsets[from / indexEvery] ?? 0 });
      let left = to - from;
      for await (const { text } of splitLines(input, lineBytesMax)) {
        yield text;
        left -= 1;
        if (left === 0) return; // ends the stream, too
      }
    },
    async putIndex(id, offsets) {
      await put(folder, path(id, '.index'), one(JSON.stringify(offsets)), Infinity);
    },
    async remove(id) {
      await rm(path(id), { force: true });
      await rm(path(id, '.index'), { force: true });
    },
  };
}

async function put(
  folder: string,
  path: string,
  bytes: AsyncIterable<Uint8Array | string>,
  bytesMax: number,
): Promise<number> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.part`;
  const file = await open(draft, 'w', 0o600);
  let total = 0;
  try {
    for await (const part of bytes) {
      total += Buffer.byteLength(part);
      if (total > bytesMax) throw tooLarge(bytesMax);
      await file.writeFile(part); // goes on where it is, and takes no part of it for the whole
    }
    await file.sync();
    await file.close();
    await rename(draft, path);
    return total;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(draft, { force: true }).catch(() => undefined);
    if (codeOf(error) === 'ENOSPC')
      throw new MusterError(
        'disk_full',
        'The disk of the control API is full: delete files, then send it again.',
        {
          cause: error,
        },
      );
    throw error;
  }
}

function tooLarge(bytesMax: number): MusterError {
  return new MusterError('invalid_input', `The file is larger than ${bytesMax} bytes.`);
}

async function present<T>(id: string, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw new MusterError('not_found', `No such File object: ${id}`);
    throw error;
  }
}

async function* one(text: string): AsyncGenerator<string> {
  yield text;
  await Promise.resolve();
}
