import { STATUS_CODES } from 'node:http';
import { flat } from '../../flat-text.ts';
import { httpToken, httpValue } from '../../http-token.ts';
import type { ToldHead, WrittenHead } from '../../told-head.ts';

/**
 * Writes response heads. What would let a header's value end its line is an error here, as it is in node: names are
 * tokens, values hold neither control characters nor anything beyond latin1 (whose low byte might be one).
 */
export function responseHead(status: number, headers: readonly string[]): WrittenHead {
  const line = statusLine(status);
  return furtherHead({ status, text: line, contentLength: -1, isLast: false, hasDate: false }, headers);
}

/** Of what many answers have in common: written once, and from the second time on in one piece. */
export function sharedHead(status: number, told: ToldHead): WrittenHead {
  const known = told.written;
  if (known?.status !== status) {
    told.isFlat = false;
    return (told.written = responseHead(status, told.list));
  }
  if (told.isFlat) return known;
  told.isFlat = true;
  return (told.written = { ...known, text: flat(known.text) });
}

/**
 * `connection`, `keep-alive` and `transfer-encoding` belong to the connection: only `connection: close` is heeded.
 * @param headers flat: name, value, name, value
 * @returns the head that was begun, with these behind it
 * @throws TypeError for a name or value that may not be sent
 */
export function furtherHead(begun: WrittenHead, headers: readonly string[]): WrittenHead {
  let { text, contentLength, isLast, hasDate } = begun;
  const { length } = headers;
  for (let at = 0; at + 1 < length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    switch (kindOf(name)) {
      case 'content-length':
        contentLength = lengthOf(value);
        text += `content-length: ${value}\r\n`;
        break;
      case 'connection':
        if (value.toLowerCase() === 'close') isLast = true;
        break;
      case 'keep-alive':
      case 'transfer-encoding':
        break;
      case 'date':
        hasDate = true;
        text += line(name, value);
        break;
      default:
        text += line(name, value);
    }
  }
  return { status: begun.status, text, contentLength, isLast, hasDate };
}

type Special = 'date' | 'connection' | 'keep-alive' | 'content-length' | 'transfer-encoding';

/** Lengths first: nearly all names differ by theirs. */
function kindOf(name: string): Special | null {
  switch (name.length) {
    case 4:
      return name.toLowerCase() === 'date' ? 'date' : null;
    case 10: {
      const lower = name.toLowerCase();
      return lower === 'connection' || lower === 'keep-alive' ? lower : null;
    }
    case 14:
      return name.toLowerCase() === 'content-length' ? 'content-length' : null;
    case 17:
      return name.toLowerCase() === 'transfer-encoding' ? 'transfer-encoding' : null;
    default:
      return null;
  }
}

const statusLines = new Map<number, string>();

function statusLine(status: number): string {
  const known = statusLines.get(status);
  if (known !== undefined) return known;
  if (!Number.isInteger(status) || status < 200 || status > 999)
    throw new TypeError(`${status} is no status of an answer`);
  const made = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`;
  statusLines.set(status, made);
  return made;
}

const lengthDigitsMax = 15;

function lengthOf(value: string): number {
  let length = 0;
  let isGood = value !== '' && value.length <= lengthDigitsMax;
  for (let at = 0; isGood && at < value.length; at += 1) {
    const digit = value.charCodeAt(at) - 0x30;
    length = length * 10 + digit;
    isGood = digit >= 0 && digit <= 9;
  }
  if (!isGood) throw new TypeError(`content-length is '${value.slice(0, 64)}'`);
  return length;
}

interface Line {
  /** The name, with all that stands between it and the value. */
  readonly start: string;
  value: string;
  text: string;
  /** The text was asked for again, and is one piece. */
  isFlat: boolean;
}

/** The last line of each name: servers say the same again and again, and what was checked need not be again. */
const lines = new Map<string, Line>();
const linesMax = 256;
const remembered = 256; // characters of a value

function line(name: string, value: string): string {
  const last = lines.get(name);
  if (last?.value === value) {
    if (!last.isFlat) last.text = flat(last.text);
    last.isFlat = true;
    return last.text;
  }
  if (last === undefined && !httpToken.test(name))
    throw new TypeError(`'${name.slice(0, 64)}' is no header name`);
  if (!httpValue.test(value)) throw new TypeError(`the header ${name} has a value that may not be sent`);
  const start = last?.start ?? `${name}: `;
  const text = `${start}${value}\r\n`;
  if (value.length > remembered) return text;
  if (last !== undefined) {
    last.value = value;
    last.text = text;
    last.isFlat = false;
  } else if (lines.size < linesMax) lines.set(name, { start: flat(start), value, text, isFlat: false });
  return text;
}
