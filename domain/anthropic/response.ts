import { parseLossless } from '../json/lossless.ts';

/** An OpenAI chat completion as Anthropic's message. */
type Fields = Readonly<Record<string, unknown>>;

export interface MessageUsage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_creation_input_tokens: 0;
  readonly cache_read_input_tokens: number;
}

/**
 * @param model as the caller named it
 * @throws Error when the answer is no chat completion
 */
export function toMessage(completion: Fields, model: string): Fields {
  const choice = asRecord(asList(completion['choices'])[0]);
  const message = asRecord(choice['message']);
  const content: Fields[] = [];
  const thinking = reasoningOf(message);
  if (thinking !== '') content.push({ type: 'thinking', thinking, signature: '' });
  const text = message['content'] ?? message['refusal'];
  if (typeof text === 'string' && text !== '') content.push({ type: 'text', text });
  for (const call of asList(message['tool_calls'] ?? [])) content.push(toolUse(asRecord(call)));
  const stop = stopOf(
    choice,
    content.some(({ type }) => type === 'tool_use'),
  );
  return {
    id: messageId(completion['id']),
    type: 'message',
    role: 'assistant',
    model,
    content,
    ...stop,
    usage: usageOf(completion['usage']),
  };
}

function toolUse(call: Fields): Fields {
  const { name, arguments: given } = asRecord(call['function']);
  return { type: 'tool_use', id: call['id'], name, input: parseInput(given) };
}

/** Models write arguments that are not always JSON; the caller gets what there is and can tell. */
function parseInput(text: unknown): unknown {
  if (typeof text !== 'string' || text.trim() === '') return {};
  try {
    return parseLossless(text);
  } catch {
    return { invalid_json: text };
  }
}

/**
 * @param hasTools the message calls tools: where the caller chose the one, OpenAI and vLLM say `stop`, and Anthropic's
 *   clients run what it calls only on `tool_use`
 */
export function stopOf(
  choice: Fields,
  hasTools: boolean,
): { stop_reason: string | null; stop_sequence: string | null } {
  const { finish_reason: reason, stop_reason: matched } = choice;
  // vLLM tells in `stop_reason` which of the stop sequences ended the text.
  if (reason === 'stop' && typeof matched === 'string')
    return { stop_reason: 'stop_sequence', stop_sequence: matched };
  const said = typeof reason === 'string' ? (reasons.get(reason) ?? 'end_turn') : null;
  return { stop_reason: said === 'end_turn' && hasTools ? 'tool_use' : said, stop_sequence: null };
}

const reasons: ReadonlyMap<string, string> = new Map([
  ['stop', 'end_turn'],
  ['length', 'max_tokens'],
  ['tool_calls', 'tool_use'],
  ['function_call', 'tool_use'],
  ['content_filter', 'refusal'],
]);

/** OpenAI counts cached tokens among the prompt's; Anthropic counts them apart. */
export function usageOf(usage: unknown): MessageUsage {
  const fields = typeof usage === 'object' && usage !== null ? (usage as Fields) : {};
  const details = fields['prompt_tokens_details'];
  const cached = count(
    typeof details === 'object' && details !== null ? (details as Fields)['cached_tokens'] : 0,
  );
  return {
    input_tokens: Math.max(0, count(fields['prompt_tokens']) - cached),
    output_tokens: count(fields['completion_tokens']),
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
  };
}

export function messageId(id: unknown): string {
  const text = typeof id === 'string' ? id.replace(/^chatcmpl-/, '') : '';
  return `msg_${text === '' ? 'unnamed' : text}`;
}

/** DeepSeek's and vLLM's name, and vLLM's newer one. */
export function reasoningOf(message: Fields): string {
  const text = message['reasoning_content'] ?? message['reasoning'];
  return typeof text === 'string' ? text : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

export function asRecord(value: unknown): Fields {
  if (typeof value !== 'object' || value === null) throw new Error('the answer is not a chat completion');
  return value as Fields;
}

export function asList(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error('the answer is not a chat completion');
  return value as readonly unknown[];
}
