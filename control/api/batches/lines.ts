/** A line of a file, and how many bytes it takes with its end. */
export interface FileLine {
  readonly text: string;
  readonly bytes: number;
}

/**
 * Lines end at LF alone (JSON Lines), a CR before it is dropped; U+2028 and the like are characters. Of a line beyond
 * `bytesMax` only the begin is kept, one byte more than the bound, so that its reader can tell.
 */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<FileLine> {
  let parts: Uint8Array[] = [];
  let kept = 0;
  let bytes = 0;
  const add = (part: Uint8Array): void => {
    bytes += part.length;
    const room = bytesMax + 1 - kept;
    if (room <= 0) return;
    const taken = part.subarray(0, room);
    parts.push(taken);
    kept += taken.length;
  };
  const take = (): FileLine => {
    const text = Buffer.concat(parts)
      .toString('utf8')
      .replace(/\r?\n?$/, '');
    const line = { text, bytes };
    parts = [];
    kept = 0;
    bytes = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      add(chunk.subarray(from, end + 1));
      from = end + 1;
      yield take();
    }
    if (from < chunk.length) add(chunk.subarray(from));
  }
  if (bytes > 0) yield take();
}
