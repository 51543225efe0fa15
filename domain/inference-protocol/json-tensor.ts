import type { Datatype, Elements } from './datatypes.ts';
import { elementCount } from './datatypes.ts';
import { invalidInput } from './errors.ts';

/**
 * Tensor data in JSON: lists of numbers, booleans or strings, flat or nested. Every element is checked against its
 * datatype, so that what reaches a model is what the caller wrote and nothing was rounded or wrapped around.
 */
export interface FlatList {
  readonly elements: readonly unknown[];
  /** Lengths of the nested lists, outermost first. */
  readonly dimensions: readonly number[];
}

/** @param where the tensor as errors name it, e.g. `input 'X'` */
export function flatten(value: readonly unknown[], where: string): FlatList {
  let level = value;
  const dimensions = [value.length];
  while (level.some(Array.isArray)) {
    const length = Array.isArray(level[0]) ? level[0].length : -1;
    const next: unknown[] = [];
    for (const item of level) {
      if (!Array.isArray(item) || item.length !== length)
        throw invalidInput(`The nested lists of ${where} have different lengths.`);
      for (const element of item) next.push(element);
    }
    dimensions.push(length);
    level = next;
  }
  return { elements: level, dimensions };
}

/** Typed elements from JSON ones. FP16 has no JSON form: the caller refuses it with its own words. */
export function elementsFromJson(
  datatype: Exclude<Datatype, 'FP16'>,
  elements: readonly unknown[],
  where: string,
): Elements {
  const refuse = (index: number, why: string) =>
    invalidInput(`Element ${index} of ${where} is ${shown(elements[index])}, but ${datatype} needs ${why}.`);
  switch (datatype) {
    case 'BOOL':
      return {
        datatype,
        data: Uint8Array.from(elements, (e, i) => truth(e, () => refuse(i, 'true or false'))),
      };
    case 'INT64':
      return { datatype, data: BigInt64Array.from(wide(elements, -(2n ** 63n), 2n ** 63n - 1n, refuse)) };
    case 'UINT64':
      return { datatype, data: BigUint64Array.from(wide(elements, 0n, 2n ** 64n - 1n, refuse)) };
    case 'FP32':
      return { datatype, data: reals(new Float32Array(elements.length), elements, refuse) };
    case 'FP64':
      return { datatype, data: reals(new Float64Array(elements.length), elements, refuse) };
    case 'BYTES':
      return { datatype, data: elements.map((e, i) => text(e, () => refuse(i, 'a string'))) };
    case 'UINT8':
      return { datatype, data: integers(new Uint8Array(elements.length), elements, [0, 0xff], refuse) };
    case 'UINT16':
      return { datatype, data: integers(new Uint16Array(elements.length), elements, [0, 0xffff], refuse) };
    case 'UINT32':
      return {
        datatype,
        data: integers(new Uint32Array(elements.length), elements, [0, 0xffffffff], refuse),
      };
    case 'INT8':
      return { datatype, data: integers(new Int8Array(elements.length), elements, [-0x80, 0x7f], refuse) };
    case 'INT16':
      return {
        datatype,
        data: integers(new Int16Array(elements.length), elements, [-0x8000, 0x7fff], refuse),
      };
    case 'INT32':
      return {
        datatype,
        data: integers(new Int32Array(elements.length), elements, [-0x80000000, 0x7fffffff], refuse),
      };
  }
}

/** JSON text of each element; @param where the tensor as errors name it, e.g. `output 'label'` */
export function elementsToJson(tensor: Elements, where: string): string[] {
  switch (tensor.datatype) {
    case 'FP16':
      throw invalidInput(
        `Sending FP16 data via JSON is not supported. Please use the binary data format for ${where}`,
      );
    case 'BOOL':
      return Array.from(tensor.data, (element) => (element === 0 ? 'false' : 'true'));
    case 'BYTES':
      return tensor.data.map((bytes) => JSON.stringify(decodeText(bytes, where)));
    case 'FP32':
    case 'FP64':
      return Array.from(tensor.data, realToJson);
    default:
      return Array.from<number | bigint, string>(tensor.data, String);
  }
}

/** Row-major elements as nested JSON lists of the shape; a scalar stands for itself. */
export function nest(elements: readonly string[], shape: readonly number[]): string {
  let level = elements;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const length = shape[axis] ?? 0;
    const rows = elementCount(shape.slice(0, axis));
    const next: string[] = [];
    for (let row = 0; row < rows; row++)
      next.push(`[${level.slice(row * length, (row + 1) * length).join(',')}]`);
    level = next;
  }
  return level[0] ?? '[]';
}

type Refuse = (index: number, why: string) => Error;

function truth(element: unknown, refuse: () => Error): number {
  if (element === true || element === 1) return 1;
  if (element === false || element === 0) return 0;
  throw refuse();
}

function text(element: unknown, refuse: () => Error): Uint8Array {
  if (typeof element !== 'string') throw refuse();
  return new TextEncoder().encode(element);
}

function integers<T extends Record<number, number>>(
  data: T,
  elements: readonly unknown[],
  [least, most]: readonly [number, number],
  refuse: Refuse,
): T {
  elements.forEach((element, index) => {
    if (typeof element !== 'number' || !Number.isInteger(element) || element < least || element > most)
      throw refuse(index, `an integer from ${least} to ${most}`);
    data[index] = element;
  });
  return data;
}

function wide(elements: readonly unknown[], least: bigint, most: bigint, refuse: Refuse): bigint[] {
  return elements.map((element, index) => {
    const exact = typeof element === 'bigint' || Number.isSafeInteger(element);
    const value = exact ? BigInt(element as bigint | number) : undefined;
    if (value === undefined || value < least || value > most)
      throw refuse(index, `an integer from ${least} to ${most}`);
    return value;
  });
}

function reals<T extends Float32Array | Float64Array>(
  data: T,
  elements: readonly unknown[],
  refuse: Refuse,
): T {
  elements.forEach((element, index) => {
    // JSON has no NaN: servers of the protocol write null for it.
    if (element === null) data[index] = NaN;
    else if (typeof element === 'number' || typeof element === 'bigint') {
      data[index] = Number(element);
      if (!Number.isFinite(data[index])) throw refuse(index, 'a number in its range');
    } else throw refuse(index, 'a number');
  });
  return data;
}

function realToJson(element: number): string {
  if (Object.is(element, -0)) return '-0';
  return Number.isFinite(element) ? String(element) : 'null';
}

function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw invalidInput(`The bytes of ${where} are not UTF-8 text: ask for it in the binary data format.`, {
      cause: error,
    });
  }
}

/** An element for an error: short, whatever came. */
function shown(element: unknown): string {
  const written = typeof element === 'bigint' ? String(element) : JSON.stringify(element);
  return written.length > 40 ? `${written.slice(0, 40)}…` : written;
}
