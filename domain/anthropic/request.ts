/**
 * Anthropic's Messages request as an OpenAI chat completion (field by field, from both API references). What has no
 * counterpart is refused by name, never dropped in silence, but for hints that change no answer (`cache_control`,
 * `metadata` beyond the user's id, where and how urgently it is served), what of the context may be forgotten (all of it
 * is sent), and thinking (whether, how much, and earlier blocks of it), which is the server's own affair.
 */
export type Translated =
  | { readonly kind: 'translated'; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly kind: 'refused'; readonly path: string; readonly message: string };

type Fields = Readonly<Record<string, unknown>>;

export function toChatRequest(request: Fields): Translated {
  try {
    return { kind: 'translated', fields: translate(request) };
  } catch (error) {
    if (error instanceof Refused) return { kind: 'refused', path: error.path, message: error.message };
    throw error;
  }
}

class Refused extends Error {
  readonly path: string;

  constructor(path: string, message: string) {
    super(`${path}: ${message}`);
    this.path = path;
  }
}

const known: ReadonlySet<string> = new Set([
  ...[
    'model',
    'max_tokens',
    'messages',
    'system',
    'stream',
    'temperature',
    'top_p',
    'top_k',
    'stop_sequences',
  ],
  ...['tools', 'tool_choice', 'metadata', 'output_config'],
  ...['cache_control', 'service_tier', 'inference_geo', 'thinking', 'context_management'],
]);

const knownOfTool: ReadonlySet<string> = new Set([
  ...['type', 'name', 'description', 'input_schema', 'strict', 'input_examples'],
  ...['allowed_callers', 'cache_control', 'eager_input_streaming'],
]);

const knownOfDocument: ReadonlySet<string> = new Set([
  ...['type', 'source', 'title', 'context', 'citations', 'cache_control'],
]);

/** Said outright, a field without a meaning here (null, false, or an empty list) asks for nothing. */
function refuseUnknown(fields: Fields, names: ReadonlySet<string>, path = ''): void {
  for (const [name, value] of Object.entries(fields)) {
    const asksNothing = isUnset(value) || value === false || (Array.isArray(value) && value.length === 0);
    if (names.has(name) || asksNothing) continue;
    throw new Refused(path === '' ? name : `${path}.${name}`, 'is not served here: leave it out.');
  }
}

function isUnset(value: unknown): boolean {
  return value === undefined || value === null;
}

function translate(request: Fields): Fields {
  refuseUnknown(request, known);
  const { model, max_tokens: maxTokens, messages, stream } = request;
  if (typeof model !== 'string') throw new Refused('model', 'say which model, as a string.');
  if (!Number.isInteger(maxTokens) || Number(maxTokens) < 1)
    throw new Refused('max_tokens', 'must be a whole number of at least 1.');
  if (!Array.isArray(messages) || messages.length === 0)
    throw new Refused('messages', 'must be a list of at least one message.');
  const out: Record<string, unknown> = {
    model,
    messages: [
      ...systemMessages(request['system']),
      ...messages.flatMap((message, at) => messagesOf(message, `messages.${at}`)),
    ],
    max_tokens: maxTokens,
  };
  for (const name of ['temperature', 'top_p', 'top_k'])
    if (request[name] !== undefined) out[name] = request[name];
  if (request['stop_sequences'] !== undefined) out['stop'] = request['stop_sequences'];
  const { user_id: user } = record(request['metadata'] ?? {}, 'metadata');
  if (typeof user === 'string') out['user'] = user;
  if (stream === true) Object.assign(out, { stream: true, stream_options: { include_usage: true } });
  Object.assign(out, toolFields(request), formatOf(request['output_config'] ?? {}));
  return out;
}

/** Effort is a hint; a schema that the answer must follow is not. */
function formatOf(config: unknown): Fields {
  const { format } = record(config, 'output_config');
  if (format === undefined || format === null) return {};
  const { type, schema } = record(format, 'output_config.format');
  if (type !== 'json_schema') throw new Refused('output_config.format.type', 'must be json_schema.');
  const answer = { name: 'answer', schema: record(schema, 'output_config.format.schema'), strict: true };
  return { response_format: { type: 'json_schema', json_schema: answer } };
}

function toolFields(request: Fields): Fields {
  const { tools, tool_choice: choice } = request;
  const out: Record<string, unknown> = {};
  if (tools !== undefined) {
    if (!Array.isArray(tools)) throw new Refused('tools', 'must be a list.');
    if (tools.length > 0) out['tools'] = tools.map((tool, at) => toolOf(tool, `tools.${at}`));
  }
  if (choice === undefined) return out;
  const { type, name, disable_parallel_tool_use: isSerial } = record(choice, 'tool_choice');
  if (isSerial === true) out['parallel_tool_calls'] = false;
  if (type === 'tool') {
    if (typeof name !== 'string') throw new Refused('tool_choice.name', 'must name a tool.');
    out['tool_choice'] = { type: 'function', function: { name } };
    return out;
  }
  const words: Fields = { auto: 'auto', any: 'required', none: 'none' };
  if (typeof type !== 'string' || !Object.hasOwn(words, type))
    throw new Refused('tool_choice.type', 'must be auto, any, tool or none.');
  out['tool_choice'] = words[type];
  return out;
}

function toolOf(value: unknown, path: string): Fields {
  const tool = record(value, path);
  const { type, name, input_schema: parameters, strict, allowed_callers: callers } = tool;
  if (type !== undefined && type !== null && type !== 'custom')
    throw new Refused(
      `${path}.type`,
      `tools that Anthropic itself runs (${JSON.stringify(type)}) are not served here.`,
    );
  if (typeof name !== 'string') throw new Refused(`${path}.name`, 'must be a string.');
  refuseUnknown(tool, knownOfTool, path);
  if (!isUnset(strict) && typeof strict !== 'boolean')
    throw new Refused(`${path}.strict`, 'must be true or false.');
  if (!isUnset(callers) && !list(callers, `${path}.allowed_callers`).includes('direct'))
    throw new Refused(`${path}.allowed_callers`, 'only the model itself calls tools here.');
  const description = descriptionOf(tool, path);
  return {
    type: 'function',
    function: {
      name,
      ...(description === undefined ? {} : { description }),
      parameters,
      ...(isUnset(strict) ? {} : { strict }),
    },
  };
}

/** OpenAI has no place for examples of calls: they stand behind the description. */
function descriptionOf({ description, input_examples: examples }: Fields, path: string): unknown {
  if (isUnset(examples)) return description;
  const texts = list(examples, `${path}.input_examples`).map((example) => JSON.stringify(example));
  if (texts.length === 0) return description;
  const shown = ['Examples of its input:', ...texts].join('\n');
  return typeof description === 'string' ? `${description}\n\n${shown}` : shown;
}

function systemMessages(system: unknown): Fields[] {
  if (system === undefined || system === '') return [];
  if (typeof system === 'string') return [{ role: 'system', content: system }];
  const blocks = list(system, 'system').map((block, at) => {
    const { type, text } = record(block, `system.${at}`);
    if (type !== 'text' || typeof text !== 'string')
      throw new Refused(`system.${at}`, 'must be a text block.');
    return text;
  });
  return blocks.length === 0 ? [] : [{ role: 'system', content: blocks.join('\n') }];
}

/** One message may become several: each tool result is a message of its own for OpenAI, before the text beside it. */
function messagesOf(value: unknown, path: string): Fields[] {
  const { role, content } = record(value, path);
  if (role !== 'user' && role !== 'assistant' && role !== 'system')
    throw new Refused(`${path}.role`, 'must be user or assistant.');
  if (typeof content === 'string') return [{ role, content }];
  const blocks = list(content, `${path}.content`).map((block, at) => record(block, `${path}.content.${at}`));
  return role === 'assistant'
    ? [assistant(blocks, `${path}.content`)]
    : user(blocks, `${path}.content`, role);
}

function assistant(blocks: Fields[], path: string): Fields {
  const texts: string[] = [];
  const calls: Fields[] = [];
  blocks.forEach((block, at) => {
    switch (block['type']) {
      case 'text':
        texts.push(textOf(block, `${path}.${at}`));
        return;
      case 'tool_use':
        calls.push({
          id: block['id'],
          type: 'function',
          function: { name: block['name'], arguments: JSON.stringify(block['input'] ?? {}) },
        });
        return;
      case 'thinking':
      case 'redacted_thinking':
        return;
      default:
        throw new Refused(`${path}.${at}.type`, `'${String(block['type'])}' is not served here.`);
    }
  });
  const content = texts.join('');
  return {
    role: 'assistant',
    content: content === '' && calls.length > 0 ? null : content,
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

function user(blocks: Fields[], path: string, role: string): Fields[] {
  const results: Fields[] = [];
  const parts: Fields[] = [];
  blocks.forEach((block, at) => {
    if (block['type'] !== 'tool_result') {
      parts.push(userPart(block, `${path}.${at}`));
      return;
    }
    const { text, pictures } = resultContent(block, `${path}.${at}`);
    results.push({ role: 'tool', tool_call_id: block['tool_use_id'], content: text });
    parts.push(...pictures); // a tool message holds text alone
  });
  if (parts.length === 0) return results;
  const isText = parts.every((part) => part['type'] === 'text');
  const content = isText && parts.length === 1 ? parts[0]?.['text'] : parts;
  return [...results, { role, content }];
}

function userPart(block: Fields, path: string): Fields {
  switch (block['type']) {
    case 'text':
      return { type: 'text', text: textOf(block, path) };
    case 'image':
      return { type: 'image_url', image_url: { url: imageUrl(block, path) } };
    case 'document':
      return { type: 'text', text: documentText(block, path) };
    default:
      throw new Refused(`${path}.type`, `'${String(block['type'])}' is not served here.`);
  }
}

/** Its title and what else is said of it go before its text; places in it cannot be cited. */
function documentText(block: Fields, path: string): string {
  refuseUnknown(block, knownOfDocument, path);
  const { type, data } = record(block['source'], `${path}.source`);
  if (type !== 'text') throw new Refused(`${path}.source`, 'only documents of plain text are served here.');
  if (typeof data !== 'string') throw new Refused(`${path}.source.data`, 'must be a string.');
  const { enabled: isCited } = record(block['citations'] ?? {}, `${path}.citations`);
  if (isCited === true) throw new Refused(`${path}.citations`, 'are not served here: leave them out.');
  const about = ['title', 'context'].flatMap((name) => {
    const value = block[name];
    if (isUnset(value) || value === '') return [];
    if (typeof value !== 'string') throw new Refused(`${path}.${name}`, 'must be a string.');
    return [`${name === 'title' ? 'Title' : 'Context'}: ${value}\n`];
  });
  return about.length === 0 ? data : `${about.join('')}\n${data}`;
}

function imageUrl(block: Fields, path: string): string {
  const { type, url, media_type: media, data } = record(block['source'], `${path}.source`);
  if (type === 'url' && typeof url === 'string') return url;
  if (type === 'base64' && typeof media === 'string' && typeof data === 'string')
    return `data:${media};base64,${data}`;
  throw new Refused(`${path}.source`, 'must be of type base64 (media_type, data) or url.');
}

function resultContent(block: Fields, path: string): { text: string; pictures: Fields[] } {
  const { content, is_error: isError } = block;
  const pictures: Fields[] = [];
  const texts: string[] = [];
  if (typeof content === 'string') texts.push(content);
  else if (content !== undefined) {
    list(content, `${path}.content`).forEach((part, at) => {
      const read = record(part, `${path}.content.${at}`);
      if (read['type'] === 'text') texts.push(textOf(read, `${path}.content.${at}`));
      else pictures.push(userPart(read, `${path}.content.${at}`));
    });
  }
  const text = texts.join('\n');
  return { text: isError === true ? `Error: ${text}` : text, pictures };
}

function textOf({ text }: Fields, path: string): string {
  if (typeof text !== 'string') throw new Refused(`${path}.text`, 'must be a string.');
  return text;
}

function record(value: unknown, path: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refused(path, 'must be an object.');
  return value as Fields;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Refused(path, 'must be a list or a string.');
  return value as readonly unknown[];
}
