import { canonicalJson } from './canonical.ts';
import { isObject, objectIn } from './exact-values.ts';
import { ignoredMembers } from './request.ts';
import type { Delivery } from './request.ts';

/**
 * A request split in two for the semantic cache: the prompt, which may be similar, and all the rest, which must be
 * equal: the system's words, earlier turns, tools, temperature, each parameter. Only the text of the last message
 * counts as the prompt, and only when a user wrote it.
 */
export interface SplitRequest {
  readonly prompt: string;
  /** Canonical text of the body without its prompt. */
  readonly frame: string;
  /**
   * The numbers and negations in the prompt, in order: answers hang on them, and embeddings hardly see them.
   * (all-MiniLM-L6-v2 gives "Is aspirin safe in pregnancy?" and "Is aspirin not safe …" a cosine of 0.99.)
   */
  readonly marks: string;
}

/** Takes the prompt's place; the frame of a request that says so itself would only be shared with its like. */
const placeholder = null;

/** @returns null for requests without one plain text to compare */
export function splitRequest(text: string, delivery: Delivery): SplitRequest | null {
  const fields = objectIn(text);
  if (fields === null) return null;
  const prompt = delivery === 'chat' ? takeLastMessage(fields) : takePrompt(fields, delivery);
  if (prompt === null || prompt.trim() === '') return null;
  const frame = canonicalJson(JSON.stringify(fields), ignoredMembers(delivery));
  if (frame.kind === 'refused') return null;
  const marks = (prompt.toLowerCase().match(telling) ?? []).join(' ');
  return { prompt, frame: frame.text, marks };
}

/** Numbers, and the words that turn a sentence into its opposite in the languages most often asked in. */
const number = String.raw`\p{Nd}+(?:[.,:/]\p{Nd}+)*`;
const negations = [
  String.raw`not|no|never|none|neither|nor|without|cannot|\p{L}+n['’]t`,
  'nicht|kein(?:e|en|er|em|es)?|nie|niemals|ohne',
  'pas|jamais|sans|aucune?|nunca|sin|ning[uú]n[oa]?|não|sem|non|mai|senza|niet|geen|zonder',
].join('|');
const telling = new RegExp(String.raw`${number}|(?<!\p{L})(?:${negations})(?![\p{L}'’])|[不没無非别]`, 'gu');

function takeLastMessage(fields: Record<string, unknown>): string | null {
  const { messages } = fields;
  if (!Array.isArray(messages)) return null;
  const last: unknown = messages.at(-1);
  if (!isObject(last) || last['role'] !== 'user') return null;
  const { content } = last;
  if (typeof content !== 'string') return null;
  last['content'] = placeholder;
  return content;
}

function takePrompt(fields: Record<string, unknown>, delivery: Delivery): string | null {
  const { prompt } = fields;
  if (delivery !== 'completion' || typeof prompt !== 'string') return null;
  fields['prompt'] = placeholder;
  return prompt;
}
