import { MusterError } from '../errors.ts';

/** KServe's own texts for what can go wrong with a V1 or V2 request; the runtime and the gateway share them. */
export function invalidInput(message: string, options?: ErrorOptions): MusterError {
  return new MusterError('invalid_input', message, options);
}

export function notFinite(parameter: string, value: number): MusterError {
  return invalidInput(
    `Parameter '${parameter}' is ${value}, for which JSON has no number: only finite numbers are passed on.`,
  );
}

export function modelNotFound(model: string): MusterError {
  return new MusterError('not_found', `Model with name ${model} does not exist.`);
}

export function modelNotReady(model: string, detail?: string): MusterError {
  const text = `Model with name ${model} is not ready.`;
  return new MusterError('model_not_ready', detail === undefined ? text : `${text} ${detail}`);
}

export function serverNotReady(): MusterError {
  return new MusterError('model_not_ready', 'Server is not ready.');
}

export function versioningNotSupported(): MusterError {
  return new MusterError('not_implemented', 'Model versioning not supported yet.');
}

export function unexpectedOutput(output: string, model: string): MusterError {
  return invalidInput(`Unexpected inference output '${output}' for model '${model}'`);
}
