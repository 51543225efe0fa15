import type { Problem } from '../../domain/control/problem.schema.ts';
import { CliError, exitCodeOf, exitCodes } from './exit-codes.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

/** The control API, as commands use it. Refusals and an unreachable API are thrown as CliErrors. */
export interface Api {
  readonly url: string;
  get(path: string): Promise<unknown>;
  /** null when there is no such thing. */
  find(path: string): Promise<unknown>;
  send(method: 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<Answer>;
  /** For long text answers: ends when the server ends it. */
  stream(path: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

const TIMEOUT_MS = 60_000;

export function createApi(url: string, token: string | null): Api {
  async function request(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<Response> {
    const headers: Record<string, string> = { accept: 'application/json, text/plain' };
    if (token !== null) headers['authorization'] = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    try {
      return await fetch(`${url}${path}`, {
        method,
        headers,
        signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      throw unreachable(url, error);
    }
  }

  async function ask(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await request(method, path, body);
    const answer = { status: response.status, headers: response.headers, body: await parse(response) };
    if (!response.ok) throw refusal(answer, url);
    return answer;
  }

  return {
    url,
    get: async (path) => (await ask('GET', path)).body,
    find: async (path) => {
      const response = await request('GET', path);
      const answer = { status: response.status, headers: response.headers, body: await parse(response) };
      if (response.status === 404) return null;
      if (!response.ok) throw refusal(answer, url);
      return answer.body;
    },
    send: ask,
    stream: async (path, signal) => {
      const response = await request('GET', path, undefined, signal ?? new AbortController().signal);
      if (!response.ok || response.body === null) {
        throw refusal(
          { status: response.status, headers: response.headers, body: await parse(response) },
          url,
        );
      }
      return response.body;
    },
  };
}

async function parse(response: Response): Promise<unknown> {
  const text = await response.text();
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    return text;
  }
}

/** Problem details in one line, or one line a wrong field when there are several. */
function refusal({ status, body }: Answer, url: string): CliError {
  const problem = typeof body === 'object' && body !== null ? (body as Partial<Problem>) : {};
  const detail = problem.detail ?? problem.title ?? `The control API answered ${status}.`;
  if (status === 401) {
    const hint = `The control API at ${url} refused the token. Is --data-dir (MUSTER_DATA_DIR) that of its stack?`;
    return new CliError(hint, exitCodes.failed);
  }
  const others = (problem.errors ?? []).filter(({ message }) => !detail.includes(message));
  const lines = others.map(
    ({ path, message }) => `  ${message.includes(path) ? message : `${path}: ${message}`}`,
  );
  const code = problem.code ?? '';
  const exitCode = exitCodeOf(code) !== exitCodes.failed ? exitCodeOf(code) : byStatus(status);
  return new CliError([detail, ...lines].join('\n'), exitCode);
}

function byStatus(status: number): number {
  if (status === 404) return exitCodes.notFound;
  if (status === 400 || status === 422) return exitCodes.refused;
  return status === 502 || status === 503 ? exitCodes.unreachable : exitCodes.failed;
}

function unreachable(url: string, error: unknown): CliError {
  const isTimeout = error instanceof Error && error.name === 'TimeoutError';
  const what = isTimeout ? `did not answer within ${TIMEOUT_MS / 1000} s` : 'cannot be reached';
  return new CliError(
    `The control API at ${url} ${what}. Start Muster with \`npx muster up\`, or look at \`npx muster status\`.`,
    exitCodes.unreachable,
    { cause: error },
  );
}
