/**
 * Whether `known` stands in `bytes` from `at` on. For heads, of a few hundred bytes: node's own comparison is not quicker for
 * these, and its code would be one more thing to fetch into the caches for a request that comes alone.
 */
export function hasBytesAt(bytes: Uint8Array, at: number, known: Uint8Array): boolean {
  const { length } = known;
  if (bytes.length - at < length) return false;
  for (let i = 0; i < length; i += 1) if (bytes[at + i] !== known[i]) return false;
  return true;
}
