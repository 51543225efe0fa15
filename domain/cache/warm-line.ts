import { parseKeepingText } from '../json/lossless.ts';
import { isObject } from './exact-values.ts';
import type { Fields } from './exact-values.ts';

/**
 * A line of a file that warms a cache: an OpenAI request body by itself, a line of OpenAI's Batch API, or a CloudEvent
 * of a payload log. The body goes on with every digit of its numbers.
 */
export type WarmLine =
  | { readonly kind: 'request'; readonly path: string; readonly body: string }
  /** Not a request, and nothing wrong: an answer in a log. */
  | { readonly kind: 'other' }
  | { readonly kind: 'refused'; readonly why: string };

const refused = (why: string): WarmLine => ({ kind: 'refused', why });

export function readWarmLine(line: string): WarmLine {
  let value: unknown;
  try {
    value = parseKeepingText(line);
  } catch {
    return refused('it is not JSON');
  }
  if (!isObject(value)) return refused('it is not a JSON object');
  if ('specversion' in value) return readEvent(value);
  const { url, body } = value;
  if (typeof url === 'string' && isObject(body)) {
    if (!/^\/[^?#\s]*$/.test(url)) return refused("its 'url' must be a path, such as /v1/chat/completions");
    return { kind: 'request', path: url, body: JSON.stringify(body) };
  }
  const path = pathOf(value);
  return path === null ? refused(unknown) : { kind: 'request', path, body: line.trim() };
}

/** KServe's logger sends the body as `data`; the kind of event is in its type. */
function readEvent({ type, data }: Fields): WarmLine {
  if (typeof type === 'string' && !type.endsWith('.request')) return { kind: 'other' };
  if (!isObject(data)) return refused('its event has no JSON object as data');
  const path = pathOf(data);
  return path === null ? refused(unknown) : { kind: 'request', path, body: JSON.stringify(data) };
}

const unknown =
  "it has none of 'messages', 'prompt', 'input', 'documents': say the path with 'url' and 'body'";

function pathOf(body: Fields): string | null {
  if ('messages' in body) return '/v1/chat/completions';
  if ('prompt' in body) return '/v1/completions';
  if ('documents' in body) return '/v1/rerank';
  return 'input' in body ? '/v1/embeddings' : null;
}
