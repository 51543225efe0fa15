import { endOfStream, eventData } from './events.ts';
import { isObject, objectIn } from './exact-values.ts';
import type { Fields } from './exact-values.ts';

/**
 * The one JSON answer that a whole stream of chunks tells, as the server would have given it without `stream`: texts
 * and arguments joined, tool calls by their index, log probabilities in order, each choice of `n`.
 *
 * @returns null when the stream holds something that nobody here knows to join (sound, foreign shapes)
 */
export function assemble(stream: string, delivery: 'chat' | 'completion'): string | null {
  const answer: Fields = {};
  const choices = new Map<number, Fields>();
  for (const data of eventData(stream)) {
    if (data === endOfStream) break;
    const chunk = objectIn(data);
    if (chunk === null) return null;
    for (const [name, value] of Object.entries(chunk)) {
      if (name !== 'choices' && (value !== null || !(name in answer))) answer[name] = value;
    }
    const fragments = chunk['choices'];
    if (!Array.isArray(fragments)) return null;
    for (const fragment of fragments) {
      if (!isObject(fragment) || !join(choices, fragment, delivery)) return null;
    }
  }
  if (delivery === 'chat') answer['object'] = 'chat.completion';
  const { usage, ...rest } = answer;
  const ordered = [...choices].sort(([a], [b]) => a - b).map(([, choice]) => choice);
  const whole = { ...rest, choices: ordered };
  return JSON.stringify(usage === undefined ? whole : { ...whole, usage });
}

/** @returns false for a shape that cannot be joined */
function join(choices: Map<number, Fields>, fragment: Fields, delivery: 'chat' | 'completion'): boolean {
  const { index = 0, delta, ...rest } = fragment;
  if (typeof index !== 'number') return false;
  const choice = choices.get(index) ?? start(index, delivery);
  choices.set(index, choice);
  if (delivery === 'chat') {
    const message = choice['message'] as Fields;
    if (delta !== undefined && !(isObject(delta) && joinDelta(message, delta))) return false;
  }
  for (const [name, value] of Object.entries(rest)) {
    if (name === 'logprobs') choice[name] = joinLists(choice[name], value);
    else if (name === 'text') choice[name] = joinText(choice[name], value);
    else if (Array.isArray(value)) choice[name] = joinList(choice[name], value);
    else if (value !== null || !(name in choice)) choice[name] = value;
  }
  return true;
}

function start(index: number, delivery: 'chat' | 'completion'): Fields {
  if (delivery === 'chat') return { index, message: { role: 'assistant', content: null } };
  return { index, text: '' };
}

function joinDelta(message: Fields, delta: Fields): boolean {
  for (const [name, value] of Object.entries(delta)) {
    if (name === 'role') message[name] = value ?? message[name];
    else if (name === 'tool_calls') {
      if (value === null) continue;
      if (!Array.isArray(value) || !joinCalls(message, value)) return false;
    } else if (name === 'function_call' && isObject(value))
      message[name] = joinFunction(message[name], value);
    else if (typeof value === 'string') message[name] = joinText(message[name], value);
    else if (Array.isArray(value)) message[name] = joinList(message[name], value);
    else if (value === null) message[name] ??= null;
    else return false;
  }
  return true;
}

function joinCalls(message: Fields, fragments: unknown[]): boolean {
  const calls = (message['tool_calls'] ??= []) as Fields[];
  return fragments.every((fragment) => isObject(fragment) && joinCall(calls, fragment));
}

function joinCall(calls: Fields[], fragment: Fields): boolean {
  const { index = 0, function: called = null, ...rest } = fragment;
  // One further than there are, at most: a wild index must not make a huge list.
  const isPlace = typeof index === 'number' && Number.isInteger(index) && index >= 0 && index <= calls.length;
  if (!isPlace || !(called === null || isObject(called))) return false;
  const call = (calls[index] ??= {});
  for (const [name, value] of Object.entries(rest)) if (value !== null && value !== '') call[name] = value;
  if (called !== null) call['function'] = joinFunction(call['function'], called);
  return true;
}

/** The name comes once, the arguments in pieces. */
function joinFunction(known: unknown, fragment: Fields): Fields {
  const called: Fields = isObject(known) ? known : { name: '', arguments: '' };
  for (const [name, value] of Object.entries(fragment)) {
    if (name === 'arguments') called[name] = joinText(called[name], value);
    else if (value !== null && value !== '') called[name] = value;
  }
  return called;
}

function joinText(known: unknown, more: unknown): unknown {
  if (typeof more !== 'string') return known ?? null;
  return typeof known === 'string' ? known + more : more;
}

function joinList(known: unknown, more: readonly unknown[]): unknown[] {
  if (!Array.isArray(known)) return [...more];
  for (const item of more) known.push(item);
  return known as unknown[];
}

/** `{content: […], refusal: […]}` of chats, `{tokens: […], token_logprobs: […], …}` of completions. */
function joinLists(known: unknown, more: unknown): unknown {
  if (!isObject(more)) return known ?? null;
  if (!isObject(known)) return more;
  for (const [name, value] of Object.entries(more)) {
    if (Array.isArray(value)) known[name] = joinList(known[name], value);
    else known[name] ??= value;
  }
  return known;
}
