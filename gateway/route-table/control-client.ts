import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';

/**
 * HTTP to the control API's internal routes, with the data folder's token. The token is read when first needed
 * and again after a 401: a new control API may have made a new one.
 */
export class ControlClient {
  private readonly url: string;
  private readonly tokenPath: string;
  private readonly agent = new Agent({ connect: { timeout: 2_000 }, headersTimeout: 5_000 });
  private token: string | null = null;

  constructor(url: string, tokenPath: string) {
    this.url = url.replace(/\/$/, '');
    this.tokenPath = tokenPath;
  }

  /** @throws when the API cannot be reached, or answers anything but 200 */
  async get(
    path: string,
    options: { bodyTimeoutMs: number; signal: AbortSignal },
  ): Promise<Dispatcher.ResponseData> {
    const { bodyTimeoutMs, signal } = options;
    return expectOk(await this.send(path, { method: 'GET', bodyTimeout: bodyTimeoutMs, signal }));
  }

  async post(path: string, body: unknown, signal: AbortSignal): Promise<void> {
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/json' };
    const options = { method: 'POST', body: text, headers, bodyTimeout: 5_000, signal } as const;
    const answer = await expectOk(await this.send(path, options));
    await answer.body.dump();
  }

  /** Any answer, whatever its status, as it comes. @throws when the API cannot be reached */
  async forward(path: string, options: ForwardedRequest): Promise<Dispatcher.ResponseData> {
    return this.send(path, options);
  }

  /** The installation's internal token, read anew each time: a new control API may have made a new one. */
  async currentToken(): Promise<string> {
    return (await readFile(this.tokenPath, 'utf8')).trim();
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async send(path: string, options: Options): Promise<Dispatcher.ResponseData> {
    const first = await this.sendOnce(path, options);
    if (first.statusCode !== 401) return first;
    await first.body.dump();
    this.token = null;
    return this.sendOnce(path, options);
  }

  private async sendOnce(path: string, options: Options): Promise<Dispatcher.ResponseData> {
    this.token ??= await this.currentToken();
    const headers = { ...options.headers, authorization: `Bearer ${this.token}` };
    return request(this.url + path, { ...options, headers, dispatcher: this.agent });
  }
}

interface Options {
  readonly method: Dispatcher.HttpMethod;
  readonly body?: string | Buffer | null;
  readonly headers?: Record<string, string>;
  readonly headersTimeout?: number;
  readonly bodyTimeout: number;
  readonly signal: AbortSignal;
}

export interface ForwardedRequest {
  readonly method: Dispatcher.HttpMethod;
  readonly body: Buffer | null;
  readonly headers: Record<string, string>;
  readonly headersTimeout: number;
  readonly bodyTimeout: number;
  readonly signal: AbortSignal;
}

async function expectOk(answer: Dispatcher.ResponseData): Promise<Dispatcher.ResponseData> {
  if (answer.statusCode === 200) return answer;
  await answer.body.dump();
  throw new Error(`the control API answered ${answer.statusCode}`);
}
