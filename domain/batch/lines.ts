import type { BatchError } from './batch.schema.ts';

/**
 * The rules for a batch's input, line by line: JSON with `custom_id` (unlike all others), `method` POST, `url` the
 * batch's endpoint and `body` an object that does not stream. All lines are looked at before one is asked, so a batch
 * fails before it has cost anything.
 */
export const batchLinesMax = 50_000;
export const lineBytesMax = 4 * 1024 * 1024;
/** Bodies of the lines that a worker is given at once; one line may be all of it. */
export const stepBytesMax = 4 * 1024 * 1024;
/** A batch with more errors than this names these; the rest is alike. */
export const errorsMax = 100;

export type CheckedLine =
  | { readonly ok: true; readonly customId: string; readonly body: string }
  | { readonly ok: false; readonly error: Omit<BatchError, 'line'> };

/**
 * @param text one line, without its end
 * @param seen custom ids of the lines before; the new one is added
 */
export function checkLine(text: string, endpoint: string, seen: Set<string>): CheckedLine {
  const fields = parse(text);
  if (fields === null)
    return wrong('invalid_json_line', 'This line is not parseable as a JSON object.', null);
  const { custom_id: customId, method, url, body } = fields;
  if (typeof customId !== 'string' || customId === '' || customId.length > 512)
    return wrong('invalid_custom_id', 'custom_id must be a string of 1 to 512 characters.', 'custom_id');
  if (seen.has(customId))
    return wrong(
      'duplicate_custom_id',
      `The custom_id '${customId}' is used by an earlier line.`,
      'custom_id',
    );
  seen.add(customId);
  if (method !== 'POST') return wrong('invalid_method', 'method must be POST.', 'method');
  if (url !== endpoint)
    return wrong('mismatched_url', `url must be the batch's endpoint, ${endpoint}.`, 'url');
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return wrong('invalid_body', 'body must be a JSON object.', 'body');
  const { model, stream } = body as Record<string, unknown>;
  if (typeof model !== 'string') return wrong('invalid_body', 'body.model must be a string.', 'body.model');
  if (stream === true) return wrong('invalid_body', 'A line of a batch cannot stream.', 'body.stream');
  return { ok: true, customId, body: bodyText(text) };
}

function parse(text: string): Record<string, unknown> | null {
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === 'object' && read !== null && !Array.isArray(read)
      ? (read as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

function wrong(code: string, message: string, param: string | null): CheckedLine {
  return { ok: false, error: { code, message, param } };
}

/** The value of the last top-level key `body`, as it stands: no number passes through a double. */
function bodyText(line: string): string {
  let found = '';
  for (const { key, from, to } of members(line))
    if (JSON.parse(key) === 'body') found = line.slice(from, to).trim();
  return found;
}

/** The top-level members of an object that JSON.parse takes: the key's own text, and where its value stands. */
function* members(
  line: string,
): Generator<{ readonly key: string; readonly from: number; readonly to: number }> {
  let at = line.indexOf('{') + 1;
  for (;;) {
    const keyStart = line.indexOf('"', at);
    if (keyStart < 0) return;
    const keyEnd = stringEnd(line, keyStart);
    const from = line.indexOf(':', keyEnd) + 1;
    const to = valueEnd(line, from);
    yield { key: line.slice(keyStart, keyEnd), from, to };
    if (line[to] === '}') return;
    at = to + 1;
  }
}

/** @returns where the comma or brace stands that ends the value */
function valueEnd(line: string, from: number): number {
  let depth = 0;
  let at = from;
  while (at < line.length) {
    const here = line[at] ?? '';
    if (here === '"') {
      at = stringEnd(line, at);
      continue;
    }
    if (depth === 0 && (here === ',' || here === '}')) return at;
    if (here === '{' || here === '[') depth += 1;
    else if (here === '}' || here === ']') depth -= 1;
    at += 1;
  }
  return at;
}

function stringEnd(line: string, at: number): number {
  let end = at + 1;
  while (end < line.length && line[end] !== '"') end += line[end] === '\\' ? 2 : 1;
  return end + 1;
}

/** How long a batch may take, milliseconds; NaN when the window is none, or longer than 7 days. */
export function windowMs(window: string): number {
  const [, count, unit] = /^([1-9]\d{0,4})(m|h|d)$/.exec(window) ?? [];
  const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
  const ms = Number(count) * (units[unit ?? ''] ?? NaN);
  return ms <= 7 * 86_400_000 ? ms : NaN;
}
