/**
 * A document with the same value in the place of each of these ranges, and equal to it byte for byte elsewhere.
 * @param ranges [from, to) in order, without overlap; an empty one is where the value is put in
 */
export function splice(
  document: Uint8Array,
  ranges: readonly (readonly [number, number])[],
  value: Uint8Array,
): Uint8Array {
  const cut = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  const out = new Uint8Array(document.length - cut + ranges.length * value.length);
  let read = 0;
  let write = 0;
  for (const [from, to] of ranges) {
    out.set(document.subarray(read, from), write);
    write += from - read;
    out.set(value, write);
    write += value.length;
    read = to;
  }
  out.set(document.subarray(read), write);
  return out;
}
