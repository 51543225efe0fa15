import { endOfStream, eventData } from './events.ts';
import { isObject, objectIn } from './exact-values.ts';
import type { Fields } from './exact-values.ts';
import type { Delivery } from './request.ts';

/**
 * Whether a server's answer is whole and worth keeping. A cache multiplies what it keeps, so only what is known to be
 * complete passes: each choice with a reason to have ended that is an end, streams with their last word.
 */
export type Form = 'json' | 'events';

export type Judged =
  | {
      readonly kind: 'fit';
      readonly inputTokens: number;
      readonly outputTokens: number;
      /** The answer itself says what it took. */
      readonly hasUsage: boolean;
    }
  | { readonly kind: 'unfit'; readonly reason: 'incomplete' | 'error' | 'not_json' };

const unfit = (reason: 'incomplete' | 'error' | 'not_json'): Judged => ({ kind: 'unfit', reason });

/** Ends that servers use; `abort`, `error` and words nobody knows are none. */
const ends: ReadonlySet<unknown> = new Set([
  'stop',
  'length',
  'tool_calls',
  'function_call',
  'content_filter',
  'eos_token',
  'stop_sequence',
]);

/** @param choices how many answers were asked for at once */
export function judge(text: string, form: Form, delivery: Delivery, choices: number): Judged {
  if (form === 'events') return delivery === 'plain' ? unfit('not_json') : judgeEvents(text, choices);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return unfit('not_json');
  }
  if (!isObject(value)) return delivery === 'plain' && Array.isArray(value) ? fit(null) : unfit('not_json');
  if (isError(value)) return unfit('error');
  if (delivery !== 'plain') {
    const given = value['choices'];
    if (!Array.isArray(given) || given.length < choices) return unfit('incomplete');
    if (!given.every((choice) => isObject(choice) && ends.has(choice['finish_reason'])))
      return unfit('incomplete');
  }
  return fit(value['usage']);
}

/** Fragments are parsed only where they may hold an end, a count or an error: the others are text alone. */
const telling = /"(?:finish_reason|error)"\s*:\s*["{]|"usage"\s*:\s*\{/;

function judgeEvents(text: string, choices: number): Judged {
  // Servers are known that leave out the blank line behind the last word: the word itself is enough.
  const events = eventData(`${text}\n\n`);
  if (events.at(-1) !== endOfStream) return unfit('incomplete');
  const ended = new Set<unknown>();
  let usage: unknown = null;
  for (const data of events) {
    if (!telling.test(data)) continue;
    const chunk = objectIn(data);
    if (chunk === null) return unfit('not_json');
    if (isError(chunk)) return unfit('error');
    if (isObject(chunk['usage'])) usage = chunk['usage'];
    for (const choice of listOf(chunk['choices'])) {
      const reason = choice['finish_reason'];
      if (reason === null || reason === undefined) continue;
      if (!ends.has(reason)) return unfit('incomplete');
      ended.add(choice['index'] ?? 0);
    }
  }
  return ended.size < choices ? unfit('incomplete') : fit(usage);
}

function isError(value: Fields): boolean {
  const { error } = value;
  return (error !== undefined && error !== null) || value['object'] === 'error';
}

function fit(usage: unknown): Judged {
  if (!isObject(usage)) return { kind: 'fit', inputTokens: 0, outputTokens: 0, hasUsage: false };
  const inputTokens = count(usage['prompt_tokens']);
  return { kind: 'fit', inputTokens, outputTokens: count(usage['completion_tokens']), hasUsage: true };
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.floor(value) : 0;
}

function listOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** How many answers a request asks for at once: `n` for each of its prompts. */
export function choicesAsked(fields: Readonly<Record<string, unknown>>): number {
  const { n, prompt } = fields;
  const each = typeof n === 'number' && Number.isInteger(n) && n > 0 ? n : 1;
  const isMany = Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] !== 'number';
  return each * (isMany ? prompt.length : 1);
}
