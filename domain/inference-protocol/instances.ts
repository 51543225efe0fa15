import type { Tensor } from './datatypes.ts';
import { asFields } from './body.ts';
import { invalidInput } from './errors.ts';
import { mayBeRounded, parseExactJson, parseJson } from './exact-json.ts';
import { elementsFromJson, elementsToJson, flatten, nest } from './json-tensor.ts';
import type { TensorSpec } from './tensor-spec.ts';

/**
 * The V1 protocol over a model of tensors: `instances` is a list of rows. A model of one input takes each row as
 * its value; a model of several takes objects with a value for each input (which one input may use, too).
 * @throws MusterError `invalid_input`
 */
export function decodeInstances(body: Uint8Array, specs: readonly TensorSpec[], model: string): Tensor[] {
  const { text, value } = parseJson(body);
  const wide = specs.some(({ datatype }) => datatype === 'INT64' || datatype === 'UINT64');
  const rows = readRows(value);
  const instances = wide && mayBeRounded(leaves(rows)) ? readRows(parseExactJson(text)) : rows;
  const [only] = specs;
  if (only !== undefined && specs.length === 1 && !instances.some(isObject)) return [column(only, instances)];
  return columns(specs, instances, model);
}

/** V1's answer: the rows of one output. */
export function encodePredictions(output: Tensor): string {
  const rows = nest(elementsToJson(output, `output '${output.name}'`), output.shape);
  return `{"predictions":${output.shape.length === 0 ? `[${rows}]` : rows}}`;
}

function readRows(value: unknown): readonly unknown[] {
  const fields = asFields(value, 'The request');
  const key = 'instances' in fields || !('inputs' in fields) ? 'instances' : 'inputs';
  const rows = fields[key];
  if (!Array.isArray(rows)) throw invalidInput(`Expected "${key}" to be a list`);
  if (rows.length === 0) throw invalidInput(`Expected "${key}" to hold at least one row`);
  return rows;
}

function columns(specs: readonly TensorSpec[], rows: readonly unknown[], model: string): Tensor[] {
  const names = specs.map(({ name }) => name);
  const wanted = `an object with ${names.map((name) => `'${name}'`).join(', ')}`;
  rows.forEach((row, index) => {
    if (!isObject(row)) throw invalidInput(`Instance ${index} for model '${model}' must be ${wanted}.`);
    const missing = names.find((name) => !Object.hasOwn(row, name));
    if (missing !== undefined)
      throw invalidInput(`Input '${missing}' is missing in instance ${index}: send ${wanted}.`);
    const unknown = Object.keys(row).find((name) => !names.includes(name));
    if (unknown !== undefined)
      throw invalidInput(`Unexpected inference input '${unknown}' in instance ${index}: send ${wanted}.`);
  });
  return specs.map((spec) =>
    column(
      spec,
      rows.map((row) => (row as Record<string, unknown>)[spec.name]),
    ),
  );
}

/** Rows as one tensor. Rows of single values fill a [n, 1] input, as converters of table models make them. */
function column(spec: TensorSpec, rows: readonly unknown[]): Tensor {
  const where = `input '${spec.name}'`;
  if (spec.datatype === 'FP16')
    throw invalidInput(
      `Receiving FP16 data via JSON is not supported. Please use the binary data format for ${where}`,
    );
  const { elements, dimensions } = flatten(rows, where);
  const single = dimensions.length === 1 && spec.shape.length === 2 && spec.shape[1] === 1;
  return {
    ...elementsFromJson(spec.datatype, elements, where),
    name: spec.name,
    shape: single ? [...dimensions, 1] : dimensions,
    parameters: {},
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Rows that are objects count with their values. */
function leaves(rows: readonly unknown[]): readonly unknown[] {
  return rows.map((row) => (isObject(row) ? Object.values(row) : row));
}
