import { invalidInput } from './errors.ts';

/**
 * JSON whose integers keep every digit. `JSON.parse` rounds integers beyond 2^53; a reviver sees their source text
 * but costs a call an element, so the exact way is taken only where a 64-bit tensor holds such an integer.
 */
export function parseJson(bytes: Uint8Array): { readonly text: string; readonly value: unknown } {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return { text, value: JSON.parse(text) };
  } catch (error) {
    throw invalidInput(
      `Unrecognized request format: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** 64-bit integers have 20 digits at most; longer ones are out of every range and stay numbers. */
const wholeNumber = /^-?\d{1,20}$/;

type Reviver = (key: string, value: unknown, context: { readonly source?: string }) => unknown;
const parseWithSource = JSON.parse as (text: string, reviver: Reviver) => unknown;

/** Like JSON.parse, but integers that a number cannot hold come as bigints. */
export function parseExactJson(text: string): unknown {
  try {
    return parseWithSource(text, (_key, value, context) => {
      if (typeof value !== 'number' || Number.isSafeInteger(value) || context.source === undefined)
        return value;
      return wholeNumber.test(context.source) ? BigInt(context.source) : value;
    });
  } catch (error) {
    // The reviver recurses: a body of a hundred thousand brackets ends here.
    throw invalidInput('Unrecognized request format: the JSON is nested too deeply', { cause: error });
  }
}

/** True where plain parsing may have rounded: some integer in the nested list is beyond 2^53. */
export function mayBeRounded(value: unknown): boolean {
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (Array.isArray(next)) for (const item of next) open.push(item);
    else if (typeof next === 'number' && Number.isInteger(next) && !Number.isSafeInteger(next)) return true;
  }
  return false;
}

/** JSON text of a value that may hold bigints at its first level (parameters do). */
export function toJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value);
  const fields = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}:${toJson(field)}`);
  return `{${fields.join(',')}}`;
}
