/**
 * A storage URI as it may be shown: in events, histories, logs and the Temporal UI. A query may be a signature that
 * opens the model to whoever reads it, so it stays in the spec alone.
 */
export function displayUri(uri: string): string {
  return /^[^?#]*/.exec(uri)?.[0] ?? '';
}
