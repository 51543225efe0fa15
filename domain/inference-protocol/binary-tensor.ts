import type { Datatype, Elements } from './datatypes.ts';
import { bytesPerElement } from './datatypes.ts';
import { invalidInput } from './errors.ts';

/**
 * Tensor data in the binary extension: numbers little-endian and row-major, BYTES elements each as a 4-byte
 * little-endian length and its bytes.
 */
const arrays = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

const hostIsLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * @param count how many elements the shape asks for
 * @param where the tensor as errors name it, e.g. `input 'X'`
 */
export function elementsFromBytes(
  datatype: Datatype,
  bytes: Uint8Array,
  count: number,
  where: string,
): Elements {
  if (datatype === 'BYTES') return { datatype, data: splitBytes(bytes, count, where) };
  const size = bytesPerElement(datatype);
  if (bytes.length !== count * size)
    throw invalidInput(
      `${count} elements of ${datatype} need ${count * size} bytes, but ${where} came with ${bytes.length}.`,
    );
  // Copied, because a typed array must start at a multiple of its element size and a body's tail seldom does.
  // Not slice(): that of Node's Buffer copies nothing, and its `buffer` is a pool shared with other requests.
  const copy = hostIsLittleEndian ? new Uint8Array(bytes) : swapped(bytes, size);
  if (datatype === 'BOOL') return { datatype, data: copy.map((element) => (element === 0 ? 0 : 1)) };
  return { datatype, data: new arrays[datatype](copy.buffer) } as Elements;
}

export function elementsToBytes(tensor: Elements): Uint8Array {
  if (tensor.datatype === 'BYTES') return joinBytes(tensor.data);
  const { buffer, byteOffset, byteLength } = tensor.data;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  return hostIsLittleEndian ? bytes : swapped(bytes, bytesPerElement(tensor.datatype));
}

/** A copy with the bytes of each element in the opposite order. */
export function swapped(bytes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.length);
  for (let start = 0; start < bytes.length; start += size)
    for (let i = 0; i < size; i++) copy[start + i] = bytes[start + size - 1 - i] ?? 0;
  return copy;
}

function splitBytes(bytes: Uint8Array, count: number, where: string): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements: Uint8Array[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    if (elements.length === count)
      throw invalidInput(`The shape of ${where} asks for ${count} elements, but its data holds more.`);
    const start = offset + 4;
    const end = start <= bytes.length ? start + view.getUint32(offset, true) : Infinity;
    if (end > bytes.length)
      throw invalidInput(`The data of ${where} ends within element ${elements.length}.`);
    elements.push(new Uint8Array(bytes.subarray(start, end)));
    offset = end;
  }
  if (elements.length !== count)
    throw invalidInput(
      `The shape of ${where} asks for ${count} elements, but its data holds ${elements.length}.`,
    );
  return elements;
}

function joinBytes(elements: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(elements.reduce((total, element) => total + 4 + element.length, 0));
  const view = new DataView(joined.buffer);
  let offset = 0;
  for (const element of elements) {
    view.setUint32(offset, element.length, true);
    joined.set(element, offset + 4);
    offset += 4 + element.length;
  }
  return joined;
}
