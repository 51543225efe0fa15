import type { UsagePolicy } from './usage-policy.schema.ts';

/**
 * What a request may use, before its server has counted: for reserving ahead of the answer, and for answers that
 * never tell. Four bytes are about one token of English; other scripts have fewer bytes a token, so that the figure
 * errs on the side of too few there, and the settling afterwards puts it right.
 */
export function estimatedInput(bodyBytes: number): number {
  return Math.ceil(bodyBytes / 4);
}

/**
 * @param fields of an OpenAI request
 * @returns tokens: the limit that the request sets, times its choices; for embeddings and the like none
 */
export function estimatedOutput(
  fields: Readonly<Record<string, unknown>>,
  isGenerated: boolean,
  policy: UsagePolicy,
): number {
  if (!isGenerated) return 0;
  const said = fields['max_completion_tokens'] ?? fields['max_tokens'] ?? fields['max_output_tokens'];
  const one = isCount(said) ? Math.min(said, policy.outputTokensMax) : policy.unsaidOutputTokens;
  const choices = fields['n'];
  return isCount(choices) && choices > 1 ? one * Math.min(choices, choicesMax) : one;
}

/** OpenAI's own bound of `n`. */
const choicesMax = 128;

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
