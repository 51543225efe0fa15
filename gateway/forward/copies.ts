/**
 * Copies of chunks for the moment until they are sent: a connection's bytes hold for one call alone, and a client that
 * is slow may take them later. They are cut from pieces, which costs a fifth of a buffer of their own. Pieces are small,
 * since one that a stalled client has a byte of stays as a whole; whoever keeps bytes for longer copies them anew.
 */
const pieceBytes = 16 * 1024;
const copyBytesMax = 4 * 1024;

let piece = new Uint8Array(pieceBytes);
let used = 0;

export function copyOf(chunk: Uint8Array): Uint8Array {
  const { length } = chunk;
  if (length > copyBytesMax) return Buffer.from(chunk);
  if (used + length > pieceBytes) {
    piece = new Uint8Array(pieceBytes);
    used = 0;
  }
  piece.set(chunk, used);
  const copy = new Uint8Array(piece.buffer, used, length);
  used += length;
  return copy;
}
