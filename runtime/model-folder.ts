import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MusterError } from '../domain/errors.ts';

/**
 * What a model folder holds. A folder with one `.onnx` file is a model; with a `tokenizer.json` beside it, an
 * embedding model. A folder with none is a repository: each of its sub-folders that holds an `.onnx` file is a
 * model, named after its folder.
 */
export interface ModelFiles {
  readonly name: string;
  readonly onnx: string;
  readonly tokenizer: string | undefined;
}

/** The one model of a folder; undefined when it has no `.onnx` file. */
export async function findModel(name: string, folder: string): Promise<ModelFiles | undefined> {
  const files = await list(folder);
  const models = files.filter((file) => file.endsWith('.onnx'));
  if (models.length > 1)
    throw new MusterError(
      'model_load_failed',
      `${folder} holds ${models.join(', ')}: leave one .onnx file in it.`,
    );
  const [onnx] = models;
  if (onnx === undefined) return undefined;
  return {
    name,
    onnx: join(folder, onnx),
    tokenizer: files.includes('tokenizer.json') ? join(folder, 'tokenizer.json') : undefined,
  };
}

/** Names of the sub-folders that may be models, sorted. */
export async function listModels(folder: string): Promise<string[]> {
  const found = await Promise.all(
    (await list(folder)).map(async (name) => ((await holdsOnnx(join(folder, name))) ? name : '')),
  );
  return found.filter((name) => name !== '');
}

async function holdsOnnx(folder: string): Promise<boolean> {
  // stat, not lstat: a fetched model may be a link into the cache.
  if (!(await stat(folder)).isDirectory()) return false;
  return (await list(folder)).some((file) => file.endsWith('.onnx'));
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.')).sort();
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : String(error);
    throw new MusterError('model_load_failed', `The model folder ${folder} ${why}.`, { cause: error });
  }
}
