import { endOfStream } from './events.ts';
import { isObject, objectIn } from './exact-values.ts';
import type { Fields } from './exact-values.ts';

/**
 * The stream of chunks that tells a JSON answer: for each choice its role, its text (and calls, log probabilities) at
 * once, its end; then the usage when it was asked for. What `assemble` makes of it is the answer again.
 *
 * @returns null when the answer has no shape to be told in chunks (sound), or lacks the usage that was asked for
 */
export function unroll(
  answer: string,
  delivery: 'chat' | 'completion',
  includeUsage: boolean,
): string | null {
  const whole = objectIn(answer);
  if (whole === null || !Array.isArray(whole['choices'])) return null;
  const { choices, usage, ...head } = whole;
  if (includeUsage && !isObject(usage)) return null;
  if (delivery === 'chat') head['object'] = 'chat.completion.chunk';
  const parts: Fields[] = [];
  for (const choice of choices as unknown[]) {
    const fragments = isObject(choice) ? fragmentsOf(choice, delivery) : null;
    if (fragments === null) return null;
    for (const fragment of fragments) {
      parts.push({ ...head, choices: [fragment], ...(includeUsage ? { usage: null } : {}) });
    }
  }
  if (includeUsage) parts.push({ ...head, choices: [], usage });
  return [...parts.map((part) => JSON.stringify(part)), endOfStream]
    .map((data) => `data: ${data}\n\n`)
    .join('');
}

function fragmentsOf(choice: Fields, delivery: 'chat' | 'completion'): Fields[] | null {
  const { index = 0, message, text, logprobs, finish_reason: reason, ...rest } = choice;
  const end = { ...rest, finish_reason: reason ?? null };
  const probabilities = logprobs === undefined ? {} : { logprobs };
  if (delivery === 'completion') {
    return [
      { index, text: text ?? '', ...probabilities, finish_reason: null },
      { index, text: '', ...(logprobs === undefined ? {} : { logprobs: null }), ...end },
    ];
  }
  if (!isObject(message)) return null;
  const { role = 'assistant', tool_calls: calls, ...said } = message;
  if (Object.values(said).some((value) => isObject(value) && value !== said['function_call'])) return null;
  const delta: Fields = { ...said };
  if (Array.isArray(calls)) delta['tool_calls'] = calls.map((call, at) => numbered(call, at));
  const first = typeof said['content'] === 'string' ? { role, content: '' } : { role };
  return [
    { index, delta: first, finish_reason: null },
    { index, delta, ...probabilities, finish_reason: null },
    { index, delta: {}, ...end },
  ];
}

function numbered(call: unknown, index: number): unknown {
  return isObject(call) ? { index, ...call } : call;
}
