import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Context } from './context.ts';
import { CliError, exitCodes } from './exit-codes.ts';

/** One POST to the gateway, in the namespace and with the key that the user gave. @throws CliError when it cannot be reached */
export async function askGateway(
  context: Pick<Context, 'gatewayUrl' | 'namespace' | 'isNamespaceGiven' | 'env' | 'io'>,
  path: string,
  body: string,
  signal?: AbortSignal,
): Promise<Response> {
  const key = apiKeyOf(context);
  try {
    return await fetch(`${context.gatewayUrl}${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        // Left out, the gateway begins with the key's own namespace, if it has one.
        ...(context.isNamespaceGiven ? { 'x-muster-namespace': context.namespace } : {}),
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      },
      body,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new CliError(
      `The gateway at ${context.gatewayUrl} cannot be reached. Start Muster with \`npx muster up\`.`,
      exitCodes.unreachable,
      { cause: error },
    );
  }
}

/** The key of `--api-key-file`, else of MUSTER_API_KEY; an open gateway needs none. */
function apiKeyOf({ env, io }: Pick<Context, 'env' | 'io'>): string | null {
  const file = env['MUSTER_API_KEY_FILE'] ?? '';
  const key = (file === '' ? (env['MUSTER_API_KEY'] ?? '') : readKeyFile(resolve(io.cwd, file))).trim();
  if (key === '' && file === '') return null;
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  const where = file === '' ? 'MUSTER_API_KEY' : file;
  throw new CliError(`${where} holds no API key: it must be one word.`, exitCodes.usage);
}

function readKeyFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new CliError(`The key file cannot be read: ${(error as Error).message}`, exitCodes.usage, {
      cause: error,
    });
  }
}

/** Turns an error body of any of the protocols into one line. */
export function explainRefusal(status: number, body: string, name: string): CliError {
  const words = errorWords(body) ?? `The gateway answered ${status}.`;
  const exitCode =
    status === 404
      ? exitCodes.notFound
      : status === 400 || status === 422
        ? exitCodes.refused
        : exitCodes.failed;
  const hints: Readonly<Record<number, string>> = {
    401: ' Give the key by MUSTER_API_KEY or --api-key-file.',
    502: ` Look at it with: muster describe ${name}`,
    503: ` Look at it with: muster describe ${name}`,
  };
  const hint = hints[status] ?? '';
  return new CliError(`${words}${hint}`, exitCode);
}

/** OpenAI: {error: {message}}; KServe: {error: text}; others: {message} or {detail}. */
export function errorWords(body: string): string | null {
  try {
    const { error, message, detail } = JSON.parse(body) as Record<string, unknown>;
    const inner =
      typeof error === 'object' && error !== null ? (error as Record<string, unknown>)['message'] : error;
    const words = [inner, message, detail].find((w) => typeof w === 'string');
    return words ?? null;
  } catch {
    return null;
  }
}
