/**
 * The tensors of the Open Inference Protocol (V2) in memory. Each datatype has one array type; 64-bit integers are
 * bigints and FP16 is its bits, because neither has a JavaScript number that keeps every value.
 */
export interface ElementArrays {
  /** 0 or 1 an element. */
  readonly BOOL: Uint8Array;
  readonly UINT8: Uint8Array;
  readonly UINT16: Uint16Array;
  readonly UINT32: Uint32Array;
  readonly UINT64: BigUint64Array;
  readonly INT8: Int8Array;
  readonly INT16: Int16Array;
  readonly INT32: Int32Array;
  readonly INT64: BigInt64Array;
  /** The 16 bits of each number. */
  readonly FP16: Uint16Array;
  readonly FP32: Float32Array;
  readonly FP64: Float64Array;
  readonly BYTES: readonly Uint8Array[];
}
export type Datatype = keyof ElementArrays;

/** A datatype and its elements, row-major. */
export type Elements = {
  [D in Datatype]: { readonly datatype: D; readonly data: ElementArrays[D] };
}[Datatype];

/** A floating-point number whose value is whole: 1.0, which is another parameter than the integer 1. */
export class WholeDouble {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** A floating-point number as a parameter has it: one that is not whole speaks for itself. */
export function asDouble(value: number): number | WholeDouble {
  return Number.isInteger(value) ? new WholeDouble(value) : value;
}

/** A whole number is an integer, as a bigint is beyond 2^53. */
export type ParameterValue = string | number | boolean | bigint | WholeDouble;
export type Parameters = Readonly<Record<string, ParameterValue>>;

export type Tensor = Elements & {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parameters: Parameters;
};

/** Bytes an element takes in binary form; 0: each element says its own length. */
const elementBytes: Readonly<Record<Datatype, number>> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
  BYTES: 0,
};

export const datatypes = Object.keys(elementBytes) as readonly Datatype[];

export function isDatatype(value: unknown): value is Datatype {
  return typeof value === 'string' && Object.hasOwn(elementBytes, value);
}

export function bytesPerElement(datatype: Datatype): number {
  return elementBytes[datatype];
}

/** Product of the dimensions; more than a safe integer counts as infinite, which no data can fill. */
export function elementCount(shape: readonly number[]): number {
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  return Number.isSafeInteger(count) ? count : shape.includes(0) ? 0 : Infinity;
}
