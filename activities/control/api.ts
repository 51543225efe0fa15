import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import { MusterError, errorCodes } from '../../domain/errors.ts';
import type { ErrorCode } from '../../domain/errors.ts';

/** Checks and types an answer; a zod schema is one. */
interface Schema<T> {
  parse(value: unknown): T;
}

export interface ControlApiOptions {
  /** http://host:port */
  readonly url: string;
  /** The internal bearer token. Asked again after a 401, since a new data folder means a new token. */
  readonly token: () => Promise<string>;
  readonly timeoutMs?: number;
}

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE';

const maxBodyBytes = 16 * 1024 * 1024;

/**
 * The control API's /internal routes, as the slow path calls them. Every failure is a MusterError: the API's own
 * code where it answered, `control_unavailable` where it did not or could not.
 */
export class ControlApi {
  private readonly options: ControlApiOptions;
  private readonly agent: Agent;
  private token: Promise<string> | null = null;

  constructor(options: ControlApiOptions) {
    const timeoutMs = options.timeoutMs ?? 10_000;
    this.options = options;
    this.agent = new Agent({
      connections: 8,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connectTimeout: timeoutMs,
    });
  }

  /** Calls and checks the answer's shape. */
  async call<T>(method: Method, path: string, schema: Schema<T>, body?: unknown): Promise<T> {
    const response = await this.send(method, path, body, null);
    const text = await response.body.text().catch((cause: unknown) => {
      throw unavailable(this.options.url, cause);
    });
    if (response.statusCode >= 400) throw problem(response.statusCode, text, method, path);
    if (text.length > maxBodyBytes)
      throw new MusterError('internal', `${path} answered with more than 16 MiB`);
    try {
      return schema.parse(JSON.parse(text === '' ? '{}' : text));
    } catch (cause) {
      const message = `the control API's answer to ${method} ${path} is not what this version of Muster expects`;
      throw new MusterError('control_unavailable', message, { cause });
    }
  }

  /** An endless answer, line by line; ends with the connection. Heartbeat lines, which are empty, are left out. */
  async *lines(path: string, signal: AbortSignal): AsyncGenerator<string> {
    const response = await this.send('GET', path, undefined, signal);
    if (response.statusCode >= 400)
      throw problem(response.statusCode, await response.body.text(), 'GET', path);
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true });
      if (rest.length > maxBodyBytes) throw new MusterError('internal', `a line of ${path} exceeds 16 MiB`);
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield line;
    }
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async send(
    method: Method,
    path: string,
    body: unknown,
    stream: AbortSignal | null,
  ): Promise<Dispatcher.ResponseData> {
    const response = await this.sendOnce(method, path, body, stream);
    if (response.statusCode !== 401) return response;
    await response.body.dump();
    this.token = null;
    return this.sendOnce(method, path, body, stream);
  }

  private async sendOnce(
    method: Method,
    path: string,
    body: unknown,
    stream: AbortSignal | null,
  ): Promise<Dispatcher.ResponseData> {
    const token = await this.bearer();
    try {
      return await request(`${this.options.url}${path}`, {
        method,
        dispatcher: this.agent,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // A stream sends an empty line every few seconds, so silence means that the other side is gone.
        ...(stream === null ? {} : { signal: stream, bodyTimeout: 15_000 }),
      });
    } catch (cause) {
      throw unavailable(this.options.url, cause);
    }
  }

  private async bearer(): Promise<string> {
    this.token ??= this.options.token();
    try {
      return await this.token;
    } catch (cause) {
      this.token = null;
      const message =
        'the internal token of the data folder cannot be read; was the folder prepared by muster up?';
      throw new MusterError('control_unavailable', message, { cause });
    }
  }
}

function unavailable(url: string, cause: unknown): MusterError {
  return new MusterError('control_unavailable', `the control API at ${url} does not answer`, { cause });
}

function problem(status: number, text: string, method: Method, path: string): MusterError {
  const { code, detail } = parseProblem(text);
  const message = detail ?? `the control API answered ${method} ${path} with status ${status}`;
  return new MusterError(code ?? (status >= 500 ? 'control_unavailable' : 'internal'), message);
}

function parseProblem(text: string): { code?: ErrorCode; detail?: string } {
  try {
    const { code, detail } = JSON.parse(text) as { code?: unknown; detail?: unknown };
    const known = errorCodes.find((candidate) => candidate === code);
    return { ...(known ? { code: known } : {}), ...(typeof detail === 'string' ? { detail } : {}) };
  } catch {
    return {};
  }
}
