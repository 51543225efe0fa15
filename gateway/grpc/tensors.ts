import { elementsFromBytes, elementsToBytes } from '../../domain/inference-protocol/binary-tensor.ts';
import {
  asDouble,
  datatypes,
  elementCount,
  isDatatype,
  WholeDouble,
} from '../../domain/inference-protocol/datatypes.ts';
import type {
  Datatype,
  Elements,
  ParameterValue,
  Parameters,
  Tensor,
} from '../../domain/inference-protocol/datatypes.ts';
import { invalidInput, notFinite } from '../../domain/inference-protocol/errors.ts';
import type { Fields } from './schema.ts';

/**
 * Tensors between protobuf's messages and ours. Data is either in each tensor's `contents`, in a list of its
 * datatype, or beside all tensors as raw bytes (for all or for none). FP16 has no list: it is raw or not at all.
 */
const lists: Readonly<Record<Exclude<Datatype, 'FP16'>, string>> = {
  BOOL: 'bool_contents',
  UINT8: 'uint_contents',
  UINT16: 'uint_contents',
  UINT32: 'uint_contents',
  UINT64: 'uint64_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

/**
 * @param list of InferTensor
 * @param raw empty: the data is in `contents`
 * @throws MusterError `invalid_input`, with KServe's texts where it has some
 */
export function readTensors(
  list: readonly Fields[],
  raw: readonly Uint8Array[],
  direction: 'input' | 'output',
  model: string,
): Tensor[] {
  if (raw.length > 0 && raw.length !== list.length) {
    throw invalidInput(
      `the number of ${direction}s (${list.length}) does not match the expected number of raw ${direction} contents (${raw.length}) for model '${model}'.`,
    );
  }
  return list.map((fields, at) => {
    const name = String(fields['name']);
    const where = `${direction} '${name}'`;
    const datatype = asDatatype(fields['datatype'], where);
    const shape = asShape(fields['shape'], where);
    const common = { name, shape, parameters: readParameters(fields['parameters']) };
    const count = elementCount(shape);
    const contents = fields['contents'] as Fields | null | undefined;
    const bytes = raw[at];
    if (bytes !== undefined) {
      if (contents !== null && contents !== undefined && holdsData(contents)) {
        throw invalidInput(
          `contents field must not be specified when using raw_${direction}_contents for ${where} for model '${model}'`,
        );
      }
      return { ...elementsFromBytes(datatype, bytes, count, where), ...common };
    }
    return { ...fromContents(datatype, contents ?? {}, count, where), ...common };
  });
}

export interface WrittenTensors {
  /** InferTensor. */
  readonly list: readonly Fields[];
  readonly raw: readonly Uint8Array[];
}

/** @param isRaw all data as raw bytes; FP16 anywhere makes it so, too */
export function writeTensors(tensors: readonly Tensor[], isRaw: boolean): WrittenTensors {
  const allRaw = isRaw || tensors.some(({ datatype }) => datatype === 'FP16');
  const list = tensors.map((tensor) => ({
    name: tensor.name,
    datatype: tensor.datatype,
    shape: tensor.shape,
    parameters: writeParameters(tensor.parameters),
    ...(allRaw ? {} : { contents: toContents(tensor) }),
  }));
  return { list, raw: allRaw ? tensors.map(elementsToBytes) : [] };
}

/** @throws MusterError `invalid_input` for a number that has no way through REST's form, which all calls take */
export function readParameters(map: unknown): Parameters {
  const read: Record<string, ParameterValue> = {};
  for (const [key, value] of Object.entries((map ?? {}) as Record<string, Fields>)) {
    const choice = value['parameter_choice'] as string | undefined;
    // No choice at all is a parameter without a value: there is nothing to hand on.
    if (choice === 'double_param') read[key] = readDouble(key, value[choice] as number);
    else if (choice !== undefined) read[key] = readChoice(value[choice]);
  }
  return read;
}

function readDouble(name: string, value: number): ParameterValue {
  if (!Number.isFinite(value)) throw notFinite(name, value);
  return asDouble(value);
}

function readChoice(value: unknown): ParameterValue {
  if (isLong(value)) {
    const exact = value.unsigned ? BigInt.asUintN(64, bitsOf(value)) : BigInt.asIntN(64, bitsOf(value));
    return Number.isSafeInteger(Number(exact)) ? Number(exact) : exact;
  }
  return value as ParameterValue;
}

export function writeParameters(parameters: Parameters): Fields {
  return Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, writeChoice(value)]));
}

function writeChoice(value: ParameterValue): Fields {
  if (value instanceof WholeDouble) return { double_param: value.value };
  switch (typeof value) {
    case 'boolean':
      return { bool_param: value };
    case 'string':
      return { string_param: value };
    case 'bigint':
      return writeWide(value);
    default:
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? { int64_param: value }
        : { double_param: value };
  }
}

/** What 64 bits cannot hold is near enough as a double, as JSON's readers take it. */
function writeWide(value: bigint): Fields {
  if (BigInt.asIntN(64, value) === value) return { int64_param: longOf(value) };
  if (BigInt.asUintN(64, value) === value) return { uint64_param: longOf(value) };
  return { double_param: Number(value) };
}

function fromContents(datatype: Datatype, contents: Fields, count: number, where: string): Elements {
  if (datatype === 'FP16')
    throw invalidInput(`FP16 data has no contents field: send ${where} as raw contents.`);
  const list = (contents[lists[datatype]] ?? []) as readonly unknown[];
  if (list.length !== count) {
    throw invalidInput(
      `The ${where} needs ${count} elements in ${lists[datatype]}, but ${list.length} came.`,
    );
  }
  switch (datatype) {
    case 'BYTES':
      return { datatype, data: list as readonly Uint8Array[] };
    case 'INT64':
      return { datatype, data: BigInt64Array.from(list, (value) => BigInt.asIntN(64, bitsOf(value))) };
    case 'UINT64':
      return { datatype, data: BigUint64Array.from(list, (value) => BigInt.asUintN(64, bitsOf(value))) };
    case 'BOOL':
      return { datatype, data: Uint8Array.from(list, (value) => (value === true ? 1 : 0)) };
    default:
      return narrow(datatype, list as readonly number[], where);
  }
}

const arrays = {
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

/** A list of wider numbers than the datatype has: what does not fit is refused, never cut. */
function narrow(datatype: keyof typeof arrays, list: readonly number[], where: string): Elements {
  const data = arrays[datatype].from(list);
  const isFloat = datatype === 'FP32' || datatype === 'FP64';
  if (!isFloat) {
    const misfit = list.find((value, at) => data[at] !== value);
    if (misfit !== undefined) throw invalidInput(`${misfit} in ${where} does not fit ${datatype}.`);
  }
  return { datatype, data } as Elements;
}

function toContents(tensor: Tensor): Fields {
  switch (tensor.datatype) {
    case 'FP16':
      throw new Error('FP16 has no contents');
    case 'BYTES':
      return { bytes_contents: tensor.data };
    case 'INT64':
    case 'UINT64':
      return { [lists[tensor.datatype]]: Array.from(tensor.data, longOf) };
    case 'BOOL':
      return { bool_contents: Array.from(tensor.data, (value) => value !== 0) };
    default:
      return { [lists[tensor.datatype]]: Array.from(tensor.data as Iterable<number>) };
  }
}

function holdsData(contents: Fields): boolean {
  return Object.values(lists).some((name) => ((contents[name] ?? []) as readonly unknown[]).length > 0);
}

function asDatatype(value: unknown, where: string): Datatype {
  if (isDatatype(value)) return value;
  throw invalidInput(
    `The datatype ${JSON.stringify(value)} of ${where} is not supported. Use one of ${datatypes.join(', ')}.`,
  );
}

function asShape(value: unknown, where: string): number[] {
  const shape = ((value ?? []) as readonly unknown[]).map(numberOf);
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0))
    throw invalidInput(`'shape' of ${where} must be a list of integers from 0 up.`);
  return shape;
}

/** How protobufjs gives a 64-bit integer. */
interface LongLike {
  readonly low: number;
  readonly high: number;
  readonly unsigned: boolean;
}

function isLong(value: unknown): value is LongLike {
  return typeof value === 'object' && value !== null && 'low' in value && 'high' in value;
}

export function numberOf(value: unknown): number {
  return isLong(value) ? Number(BigInt.asIntN(64, bitsOf(value))) : Number(value);
}

/** The 64 bits of an integer; their sign is the reader's. */
function bitsOf(value: unknown): bigint {
  if (!isLong(value)) return BigInt(Number(value));
  return (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
}

function longOf(value: bigint): LongLike {
  const bits = BigInt.asUintN(64, value);
  return {
    low: Number(bits & 0xffffffffn) | 0,
    high: Number(bits >> 32n) | 0,
    unsigned: value > 2n ** 63n - 1n,
  };
}
