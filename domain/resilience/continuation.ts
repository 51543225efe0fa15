import type { Operation } from '../routing/operation.ts';
import { splice } from '../routing/splice.ts';
import { fieldRanges } from '../routing/splice-model.ts';
import { eventData } from '../sse/sse.ts';

/**
 * How an answer that its server cut can be gone on with by another server of the same model: the request is asked
 * again with the text so far behind its prompt, and what comes is given the first stream's identity. That is only
 * right where the rest depends on the text alone, so everything else (several choices, probabilities, grammars, tool
 * calls, thoughts) is an obstacle, and the caller is told of the cut instead.
 *
 * White space at the end of the text so far is not sent but expected back: chat templates trim it, and a token mostly
 * begins with its space, so that a prompt which ends in one is continued badly.
 */
export type AnswerKind = 'chat' | 'text';

/** How a server is asked to go on with an assistant's message. */
export type ChatContinuation = 'llama.cpp' | 'vllm' | 'never';

export interface AnswerSoFar {
  readonly text: string;
  /** Chunks with text: a token each, by all servers known. */
  readonly pieces: number;
  /** Of them, the last ones that are nothing but white space. */
  readonly blankPieces: number;
  /** Fields that all chunks share; null before the first. */
  readonly identity: Readonly<Record<string, unknown>> | null;
  readonly hasRole: boolean;
  readonly finish: string | null;
  readonly hasUsage: boolean;
  readonly isDone: boolean;
  /** Why the text so far cannot be gone on with; null: it can. */
  readonly obstacle: string | null;
}

type Fields = Readonly<Record<string, unknown>>;

/** Of the Responses API, whose streams say their end in other words and cannot be gone on with; stored ones may be streamed again. */
export function isResponsesCall({ kind, head }: Operation): boolean {
  return kind === 'openai-stored' || head === '/v1/responses';
}

export function answerKind(path: string): AnswerKind | null {
  if (path === '/v1/chat/completions') return 'chat';
  return path === '/v1/completions' ? 'text' : null;
}

/** What a text of whole events has told the client. */
export function readAnswer(kind: AnswerKind, events: string): AnswerSoFar {
  let text = '';
  let pieces = 0;
  let blankPieces = 0;
  let identity: AnswerSoFar['identity'] = null;
  let [hasRole, hasUsage, isDone] = [false, false, false];
  let finish: string | null = null;
  let obstacle: string | null = null;
  for (const data of eventData(events)) {
    if (data === '[DONE]') {
      isDone = true;
      continue;
    }
    const chunk = parseObject(data);
    if (chunk === null) {
      obstacle ??= 'it holds something that is not a JSON object';
      continue;
    }
    identity ??= identityOf(chunk);
    if (isObject(chunk['usage'])) hasUsage = true;
    obstacle ??= obstacleIn(kind, chunk);
    const choice = firstChoice(chunk);
    if (choice === null) continue;
    if (typeof choice['finish_reason'] === 'string') finish = choice['finish_reason'];
    if (kind === 'chat' && isObject(choice['delta']) && choice['delta']['role'] !== undefined) hasRole = true;
    const piece = textOf(kind, choice);
    if (piece === '') continue;
    text += piece;
    pieces += 1;
    blankPieces = piece.trim() === '' ? blankPieces + 1 : 0;
  }
  return { text, pieces, blankPieces, identity, hasRole, finish, hasUsage, isDone, obstacle };
}

/** Why a request cannot be gone on with, from its body alone; null: it can. */
export function requestObstacle(kind: AnswerKind, fields: Fields, chat: ChatContinuation): string | null {
  for (const [name, isIn] of asked) if (isIn(fields[name])) return `it asks for ${name}`;
  if (kind === 'text') return typeof promptOf(fields) === 'string' ? null : 'its prompt is not one text';
  if (chat === 'never') return 'its server is not known to continue a chat';
  // llama.cpp parses tool calls by a grammar from the beginning of the answer.
  if (chat === 'llama.cpp' && isFull(fields['tools'])) return 'it asks for tools';
  const { messages } = fields;
  if (!Array.isArray(messages) || messages.length === 0) return 'it has no messages';
  const last: unknown = messages[messages.length - 1];
  return isObject(last) && last['role'] === 'assistant' ? 'it continues an answer itself' : null;
}

const isFull = (value: unknown): boolean => Array.isArray(value) && value.length > 0;
const isSet = (value: unknown): boolean => value !== undefined && value !== null && value !== false;
const isMany = (value: unknown): boolean => isSet(value) && value !== 1;

/** Fields whose effect does not survive a cut. */
const asked: readonly (readonly [string, (value: unknown) => boolean])[] = [
  ['n', isMany],
  ['best_of', isMany],
  ['logprobs', isSet],
  ['top_logprobs', (value) => isSet(value) && value !== 0],
  ['prompt_logprobs', isSet],
  ['echo', isSet],
  ['suffix', isSet],
  ['functions', isFull],
  ['modalities', (value) => isSet(value) && JSON.stringify(value) !== '["text"]'],
  ['response_format', (value) => isObject(value) && value['type'] !== 'text'],
  ['grammar', (value) => isSet(value) && value !== ''],
  ['json_schema', isSet],
  ['structured_outputs', isSet],
  ['guided_json', isSet],
  ['guided_regex', isSet],
  ['guided_choice', isSet],
  ['guided_grammar', isSet],
  ['continue_final_message', isSet],
  ['use_beam_search', isSet],
];

export interface Continuation {
  readonly body: Uint8Array;
  /** Text that the client has and the server was not told: it is expected back, and swallowed. */
  readonly owed: string;
  /** Tokens of the answer that the server takes for part of its prompt. */
  readonly given: number;
  /** The answer has all its tokens: only its end and its usage are wanted. */
  readonly isFull: boolean;
}

/** The request whose answer is the rest. The bytes of the first request stay, but for what must change. */
export function continuationOf(
  kind: AnswerKind,
  request: { readonly body: Uint8Array; readonly fields: Fields },
  answer: AnswerSoFar,
  chat: ChatContinuation,
): Continuation {
  const { fields } = request;
  const known = answer.text.trimEnd();
  const given = answer.pieces - answer.blankPieces;
  const most = ['max_tokens', 'max_completion_tokens', 'n_predict'].flatMap((name) => {
    const value = fields[name];
    return typeof value === 'number' && value >= 1 ? [{ name, tokens: Math.floor(value) }] : [];
  });
  const isFull = answer.finish !== null || most.some(({ tokens }) => answer.pieces >= tokens);
  const edits = most.map(({ name, tokens }): [string, string] => [
    name,
    String(isFull ? 1 : Math.max(1, tokens - given)),
  ]);
  if (isFull && edits.length === 0) edits.push(['max_tokens', '1']);
  const least = fields['min_tokens'];
  if (typeof least === 'number') edits.push(['min_tokens', String(Math.max(0, Math.floor(least) - given))]);
  if (known !== '') {
    if (kind === 'text') edits.push(['prompt', grownPrompt(request.body, known)]);
    else edits.push(...chatEdits(request.body, known, chat));
  }
  const body = edits.reduce((bytes, [name, json]) => spliceField(bytes, name, json), request.body);
  return { body, owed: answer.text.slice(known.length), given, isFull };
}

/** By its bytes: what was parsed of a long one is not all of it. */
function grownPrompt(body: Uint8Array, known: string): string {
  const [from, to] = fieldRanges(body, 'prompt').at(-1) ?? [0, 0];
  const said = new TextDecoder().decode(body.subarray(from, to)).trim();
  const text = said.startsWith('[') ? said.slice(1, -1).trim() : said;
  return text.slice(0, -1) + JSON.stringify(known).slice(1);
}

function chatEdits(body: Uint8Array, known: string, chat: ChatContinuation): [string, string][] {
  const range = fieldRanges(body, 'messages').at(-1) ?? [0, 0];
  const messages = new TextDecoder().decode(body.subarray(range[0], range[1])).trimEnd();
  const message = JSON.stringify({ role: 'assistant', content: known });
  const edits: [string, string][] = [['messages', `${messages.slice(0, -1)},${message}]`]];
  if (chat === 'vllm') edits.push(['add_generation_prompt', 'false'], ['continue_final_message', 'true']);
  return edits;
}

/** Sets a top-level field, in its place or at the end. */
function spliceField(body: Uint8Array, name: string, json: string): Uint8Array {
  const ranges = fieldRanges(body, name);
  if (ranges.length > 0) return splice(body, ranges, new TextEncoder().encode(json));
  const end = body.lastIndexOf(0x7d);
  return splice(body, [[end, end]], new TextEncoder().encode(`,${JSON.stringify(name)}:${json}`));
}

function promptOf(fields: Fields): unknown {
  const { prompt } = fields;
  return Array.isArray(prompt) && prompt.length === 1 ? prompt[0] : prompt;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function parseObject(json: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(json);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

export function firstChoice(chunk: Record<string, unknown>): Record<string, unknown> | null {
  const { choices } = chunk;
  const first: unknown = Array.isArray(choices) ? choices[0] : null;
  return isObject(first) ? first : null;
}

export function textOf(kind: AnswerKind, choice: Record<string, unknown>): string {
  const text = kind === 'text' ? choice['text'] : isObject(choice['delta']) ? choice['delta']['content'] : '';
  return typeof text === 'string' ? text : '';
}

function identityOf(chunk: Record<string, unknown>): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of ['id', 'created', 'model', 'system_fingerprint']) {
    if (chunk[name] !== undefined) found[name] = chunk[name];
  }
  return found;
}

/** Fields of a delta that say nothing beyond the text. */
const plainDelta = new Set(['role', 'content']);

function obstacleIn(kind: AnswerKind, chunk: Record<string, unknown>): string | null {
  if (chunk['error'] !== undefined) return 'it holds an error';
  const { choices } = chunk;
  if (!Array.isArray(choices)) return 'it holds something that is not a chunk';
  if (choices.length > 1) return 'it has several choices';
  const choice = firstChoice(chunk);
  if (choice === null) return null;
  if (typeof choice['index'] === 'number' && choice['index'] !== 0) return 'it has several choices';
  if (isSet(choice['logprobs'])) return 'it holds probabilities';
  if (kind === 'text' || !isObject(choice['delta'])) return null;
  for (const [name, value] of Object.entries(choice['delta'])) {
    if (!plainDelta.has(name) && isSet(value) && value !== '' && !isEmptyList(value))
      return `it holds ${name}`;
  }
  return null;
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
