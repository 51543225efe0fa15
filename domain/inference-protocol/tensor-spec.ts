import type { Datatype, Tensor } from './datatypes.ts';
import { invalidInput } from './errors.ts';

/** What a model says about one of its tensors; a dimension of -1 takes any length. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

/**
 * Refuses a request that the model cannot take, with words about which input, what was expected and what came.
 * @throws MusterError `invalid_input`
 */
export function checkInputs(specs: readonly TensorSpec[], inputs: readonly Tensor[], model: string): void {
  const known = new Map(specs.map((spec) => [spec.name, spec]));
  for (const input of inputs) {
    const spec = known.get(input.name);
    if (spec === undefined)
      throw invalidInput(
        `Unexpected inference input '${input.name}' for model '${model}': it takes ${list(specs)}.`,
      );
    if (input.datatype !== spec.datatype || !fits(spec.shape, input.shape))
      throw invalidInput(
        `Input '${input.name}' of model '${model}' expects ${form(spec)}, but ${form(input)} came.`,
      );
    known.delete(input.name);
  }
  const missing = [...known.values()];
  if (missing.length > 0) throw invalidInput(`Input ${list(missing)} is missing for model '${model}'.`);
}

function fits(expected: readonly number[], actual: readonly number[]): boolean {
  return (
    expected.length === actual.length &&
    expected.every((length, axis) => length === -1 || length === actual[axis])
  );
}

function form({ datatype, shape }: Pick<TensorSpec, 'datatype' | 'shape'>): string {
  return `${datatype} of shape [${shape.join(',')}]`;
}

function list(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `'${spec.name}' (${form(spec)})`).join(', ');
}
