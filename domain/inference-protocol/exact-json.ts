import { asDouble, WholeDouble } from './datatypes.ts';
import type { Parameters } from './datatypes.ts';
import { invalidInput, notFinite } from './errors.ts';

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

type Reviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;
const parseWithSource = JSON.parse as (text: string, reviver: Reviver) => unknown;

/** Like JSON.parse, but integers that a number cannot hold come as bigints. */
export function parseExactJson(text: string): unknown {
  return parseWith(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== undefined ? exact(value, source) : value,
  );
}

/** Besides, a parameter that is written with a fraction or an exponent comes as a double. */
export function parseExactHead(text: string): unknown {
  return parseWith(text, function (_key, value, { source }) {
    if (typeof value !== 'number' || source === undefined) return value;
    // Elements and dimensions are in lists: the numbers with a name are parameters.
    return Array.isArray(this) || integer.test(source) ? exact(value, source) : asDouble(value);
  });
}

const integer = /^-?\d+$/;

function exact(value: number, source: string): number | bigint {
  return !Number.isSafeInteger(value) && wholeNumber.test(source) ? BigInt(source) : value;
}

function parseWith(text: string, reviver: Reviver): unknown {
  try {
    return parseWithSource(text, reviver);
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

const fractionalMember = /"\s*:\s*(-?\d+(?:\.\d+|(?=[eE]))(?:[eE][+-]?\d+)?)/g;

/** True where some number with a name may be whole, but written with a fraction or an exponent. */
export function mayHoldWholeDoubles(text: string): boolean {
  for (const [, number] of text.matchAll(fractionalMember)) if (Number.isInteger(Number(number))) return true;
  return false;
}

/**
 * Integers digit by digit, doubles always with a fraction or an exponent: so each is read as what it is.
 * @throws MusterError `invalid_input` for what JSON has no number for
 */
export function parametersToJson(parameters: Parameters): string {
  const fields = Object.entries(parameters).map(([name, value]) => {
    const number = value instanceof WholeDouble ? value.value : value;
    if (typeof number === 'number' && !Number.isFinite(number)) throw notFinite(name, number);
    return `${JSON.stringify(name)}:${value instanceof WholeDouble ? doubleToJson(value.value) : plainToJson(value)}`;
  });
  return `{${fields.join(',')}}`;
}

function plainToJson(value: string | number | boolean | bigint): string {
  if (typeof value === 'bigint') return value.toString();
  return Object.is(value, -0) ? doubleToJson(-0) : JSON.stringify(value);
}

function doubleToJson(value: number): string {
  const text = Object.is(value, -0) ? '-0' : String(value);
  return integer.test(text) ? `${text}.0` : text;
}
