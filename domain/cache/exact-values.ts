import { parseKeepingText } from '../json/lossless.ts';

export type Fields = Record<string, unknown>;

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The object that a text holds, or null. Its numbers keep their text: an answer that is delivered in another form is
 * not rounded on the way.
 */
export function objectIn(text: string): Fields | null {
  try {
    const value = parseKeepingText(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
