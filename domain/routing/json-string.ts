/**
 * The host's own search for a byte, many times as fast as a loop where it has far to go.
 * @returns where the byte is, at `from` or later; -1: nowhere
 */
export type IndexOf = (bytes: Uint8Array, byte: number, from: number) => number;

export const quote = 0x22;
const backslash = 0x5c;
/** Most strings are short, and so are the ways between the escaped quotes of a document in a document. */
const shortBytes = 64;

/** @returns where the quote is that ends the string which has its first byte at `from`; -1: nowhere */
export function stringEnd(document: Uint8Array, from: number, indexOf: IndexOf): number {
  const { length } = document;
  let at = from;
  for (;;) {
    const near = Math.min(length, at + shortBytes);
    while (at < near) {
      const byte = document[at];
      if (byte === quote) return at;
      at += byte === backslash ? 2 : 1;
    }
    const end = indexOf(document, quote, at);
    if (end < 0) return -1;
    let escape = end;
    while (escape > at && document[escape - 1] === backslash) escape -= 1;
    if ((end - escape) % 2 === 0) return end;
    at = end + 1;
  }
}

/** @param text ASCII */
export function isText(document: Uint8Array, from: number, text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (document[from + i] !== text.charCodeAt(i)) return false;
  return true;
}
