/**
 * The same text in one piece. What is put together of pieces stays pieces to V8 until something needs its characters, and
 * each writing of it walks over all of them again: worth it for what is written many times.
 * @param text of characters up to U+00FF
 */
export function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
