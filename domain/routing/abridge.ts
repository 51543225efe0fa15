import { isText, quote, stringEnd } from './json-string.ts';
import type { IndexOf } from './json-string.ts';
import { splice } from './splice.ts';

/**
 * An OpenAI request without what the long strings of its content say: the text of a prompt, a picture. Whoever asks for
 * the fields beside them (limits, whether it is a stream) need not read them, nor make strings and garbage of them. Only
 * what lies in the fields of `contentFields` is left out: every other one, those that say where a request goes and
 * whose it is among them, stays as it is, however it is spelled. The rest stays byte for byte, too, so that `JSON.parse`
 * still says whether the document is one; only what stands inside of the strings left out is not looked at.
 *
 * @param document without a byte order mark
 * @returns the document, each such string of more than 512 bytes (escapes count as they are written) as "..."; itself
 *   where it has none. The look ends, and the rest stays as it is, where it has found little to leave out: then
 *   parsing costs less than looking.
 */
export function abridge(document: Uint8Array, indexOf: IndexOf): Uint8Array {
  const ranges: [number, number][] = [];
  let lookUntil = lookBytes;
  let depth = 0;
  /** In the outermost object: a name comes next; and whether the value is that of a field of content. */
  let isName = false;
  let isContent = false;
  for (let at = 0; at < lookUntil && at < document.length; at += 1) {
    switch (document[at]) {
      case quote: {
        const begin = at + 1;
        at = stringEnd(document, begin, indexOf);
        if (at < 0) return abridged(document, ranges);
        if (isName) isContent = isContentField(document, begin, at);
        else if (isContent && at - begin > longBytes) {
          ranges.push([begin, at]);
          lookUntil += (at - begin) * (1 + 1 / worthBytes);
        }
        break;
      }
      case openBrace:
      case openBracket:
        depth += 1;
        isName = depth === 1;
        break;
      case closeBrace:
      case closeBracket:
        depth -= 1;
        isName = false;
        break;
      case comma:
        isName = depth === 1;
        break;
      case colon:
        isName = false;
        break;
      default:
    }
  }
  return abridged(document, ranges);
}

/** Nothing asks for more of these than their form: of what kind they are, and how many. */
const contentFields = ['messages', 'input', 'prompt', 'instructions', 'documents', 'tools'];
const mark = new TextEncoder().encode('...');
const longBytes = 512;
/** So many bytes beside long strings are looked at, and one more for each few of theirs. */
const lookBytes = 2048;
const worthBytes = 8;

const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;
const colon = 0x3a;

function abridged(document: Uint8Array, ranges: readonly [number, number][]): Uint8Array {
  return ranges.length === 0 ? document : splice(document, ranges, mark);
}

function isContentField(document: Uint8Array, from: number, to: number): boolean {
  return contentFields.some((field) => field.length === to - from && isText(document, from, field));
}
