/**
 * JSON.parse that keeps numbers which a double cannot hold: they come as raw JSON, which JSON.stringify writes as it
 * was. For documents that are taken apart and put together anew (tool inputs between two protocols); only numbers of
 * 16 and more digits can be lost, so others are parsed at full speed.
 *
 * @throws SyntaxError for what is no JSON; RangeError when such a document is nested too deeply
 */
export function parseLossless(text: string): unknown {
  if (!/[\d.]{16,}/.test(text)) return JSON.parse(text);
  return parseWithSource(text, (_key, value, context) => {
    if (typeof value !== 'number' || context.source === undefined || isExact(value, context.source))
      return value;
    return rawJson(context.source);
  });
}

/**
 * The same for documents whose bytes count, as those that are a key of the cache: `1.0` does not become `1` either, so
 * numbers may be raw JSON that a double would hold.
 *
 * @throws SyntaxError, and RangeError
 */
export function parseKeepingText(text: string): unknown {
  return parseWithSource(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJson(source) : value,
  );
}

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
const parseWithSource = JSON.parse as (text: string, reviver: Reviver) => unknown;
// ECMAScript's proposal "JSON.parse source text access"; in V8 since 11.4, not yet in TypeScript's library.
const rawJson = (JSON as unknown as { rawJSON: (text: string) => unknown }).rawJSON;

/** Doubles hold every number of 15 significant digits. */
function isExact(value: number, source: string): boolean {
  if (Number.isSafeInteger(value) && /^-?\d+$/.test(source)) return true;
  const digits = source
    .replace(/[eE].*$/, '')
    .replace(/\D/g, '')
    .replace(/^0+/, '');
  return digits.length <= 15 && Number.isFinite(value);
}
