/**
 * JSON whose numbers keep every digit through parse and stringify: an answer that is delivered in another form must
 * not be rounded on the way. Numbers that a double tells exactly are plain numbers.
 */
type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
const parse = JSON.parse as (text: string, reviver: Reviver) => unknown;
const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => unknown };

/** @throws SyntaxError, and RangeError for documents that are nested too deeply */
export function parseKeepingDigits(text: string): unknown {
  return parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value,
  );
}

export type Fields = Record<string, unknown>;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object that a text holds, or null. */
export function objectIn(text: string): Fields | null {
  try {
    const value = parseKeepingDigits(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
