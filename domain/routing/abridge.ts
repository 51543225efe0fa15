import { quote, stringEnd } from './json-string.ts';
import type { IndexOf } from './json-string.ts';
import { splice } from './splice.ts';

/**
 * A JSON document without what long strings say: the text of a prompt, a picture. Whoever asks for the fields beside
 * them (the model, limits, whether it is a stream) need not read them, nor make strings and garbage of them. The rest
 * stays byte for byte, so that `JSON.parse` still says whether the document is one; only what stands inside of long
 * strings is not looked at.
 *
 * @param document without a byte order mark
 * @returns the document, each string of more than 256 bytes as "..."; itself where it has none. The look ends, and the
 *   rest stays as it is, where it has found little to leave out: then parsing costs less than looking.
 */
export function abridge(document: Uint8Array, indexOf: IndexOf): Uint8Array {
  const ranges: [number, number][] = [];
  let lookUntil = lookBytes;
  let at = 0;
  while (at < lookUntil && at < document.length) {
    if (document[at] !== quote) {
      at += 1;
      continue;
    }
    const end = stringEnd(document, at + 1, indexOf);
    if (end < 0) break;
    const length = end - at - 1;
    if (length > longBytes) {
      ranges.push([at + 1, end]);
      lookUntil += length + length / worthBytes;
    }
    at = end + 1;
  }
  return ranges.length === 0 ? document : splice(document, ranges, mark);
}

const mark = new TextEncoder().encode('...');
const longBytes = 256;
/** So many bytes beside long strings are looked at, and one more for each few of theirs. */
const lookBytes = 2048;
const worthBytes = 8;
