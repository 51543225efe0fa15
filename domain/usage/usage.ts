/** Tokens of one answered request, as its server counted them (OpenAI `usage`). */
export interface Usage {
  readonly inputTokens: number;
  /** Part of `inputTokens` that the server found in its prefix cache. */
  readonly cachedInputTokens: number;
  readonly outputTokens: number;
}
