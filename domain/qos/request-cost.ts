/**
 * Turns that a request takes of its tenant's share, where tenants share tokens: its prompt, at four bytes a token,
 * and the answer that it asks for, in units of 512 tokens. One at least, and not so many that one request keeps its
 * tenant out for long.
 */
const bytesPerToken = 4;
const tokensPerTurn = 512;
const turnsMax = 16;
/** What an answer takes that was not limited. */
const answerTokens = 256;

/** @param fields of an OpenAI body; null: only the bytes count */
export function requestTurns(bytes: number, fields: Readonly<Record<string, unknown>> | null): number {
  const tokens = bytes / bytesPerToken + (fields === null ? 0 : askedTokens(fields));
  return Math.max(1, Math.min(turnsMax, Math.ceil(tokens / tokensPerTurn)));
}

function askedTokens(fields: Readonly<Record<string, unknown>>): number {
  for (const name of ['max_completion_tokens', 'max_output_tokens', 'max_tokens']) {
    const value = fields[name];
    if (typeof value === 'number' && value > 0) return value;
  }
  return answerTokens;
}
