/** What stands before and behind a chunk of `transfer-encoding: chunked`. WriteBuffer writes the same as bytes. */
export const lastChunk = '0\r\n\r\n';
const lastOfAll = `\r\n${lastChunk}`;

export function chunkStart(length: number): string {
  return `${length.toString(16)}\r\n`;
}

/** @param isFinal the body ends behind it */
export function chunkEnd(isFinal: boolean): string {
  return isFinal ? lastOfAll : '\r\n';
}
