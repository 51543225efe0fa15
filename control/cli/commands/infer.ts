import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { askGateway, explainRefusal } from '../gateway.ts';
import { inferenceService, pathOf } from '../kinds.ts';

export interface InferOptions {
  readonly data?: string;
  readonly file?: string;
}

/** `muster infer NAME`: sends one request as it is and prints the answer as JSON. */
export async function infer(context: Context, name: string, options: InferOptions): Promise<void> {
  const body = await bodyOf(context, options);
  const path = (await isV1(context, name, body)) ? `/v1/models/${name}:predict` : `/v2/models/${name}/infer`;
  const response = await askGateway(context, path, JSON.stringify(body));
  const answer = await response.text();
  if (!response.ok) throw explainRefusal(response.status, answer, name);
  // As the server wrote it: a parse would round long numbers.
  context.print(answer.trimEnd());
}

type Json = Readonly<Record<string, unknown>>;

async function bodyOf(context: Context, options: InferOptions): Promise<Json> {
  const source = await sourceOf(context, options);
  try {
    const value: unknown = JSON.parse(source);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  } catch (error) {
    throw new CliError(`The request is not JSON: ${(error as Error).message}`, exitCodes.usage, {
      cause: error,
    });
  }
  throw new CliError(
    'The request must be a JSON object, with "inputs" (V2) or "instances" (V1).',
    exitCodes.usage,
  );
}

async function sourceOf({ io }: Context, options: InferOptions): Promise<string> {
  if (options.data !== undefined) return options.data;
  if (options.file !== undefined && options.file !== '-') {
    try {
      return readFileSync(resolve(io.cwd, options.file), 'utf8');
    } catch (error) {
      throw new CliError(`${options.file} cannot be read: ${(error as Error).message}`, exitCodes.usage, {
        cause: error,
      });
    }
  }
  if (options.file === undefined && io.stdin.isTTY === true) {
    throw new CliError('Give the request with -d JSON, -f FILE, or on standard input.', exitCodes.usage);
  }
  return text(io.stdin);
}

/** The request's own words decide; where they do not, the service's protocol. */
async function isV1(context: Context, name: string, body: Json): Promise<boolean> {
  if ('instances' in body) return true;
  if (Array.isArray(body['inputs'])) return false;
  const service = (await context.api
    .find(pathOf(inferenceService, context.namespace, name))
    .catch(() => null)) as InferenceService | null;
  return service?.spec.predictor.model?.protocolVersion === 'v1';
}
