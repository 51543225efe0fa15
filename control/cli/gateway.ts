import type { Context } from './context.ts';
import { CliError, exitCodes } from './exit-codes.ts';

/** One POST to the gateway in the command's namespace. @throws CliError when it cannot be reached */
export async function askGateway(
  context: Pick<Context, 'gatewayUrl' | 'namespace'>,
  path: string,
  body: string,
  signal?: AbortSignal,
): Promise<Response> {
  try {
    return await fetch(`${context.gatewayUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-muster-namespace': context.namespace },
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

/** Turns an error body of any of the protocols into one line. */
export function explainRefusal(status: number, body: string, name: string): CliError {
  const words = errorWords(body) ?? `The gateway answered ${status}.`;
  const exitCode =
    status === 404
      ? exitCodes.notFound
      : status === 400 || status === 422
        ? exitCodes.refused
        : exitCodes.failed;
  const hint = status === 503 || status === 502 ? ` Look at it with: muster describe ${name}` : '';
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
