import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  readonly line: string;
  readonly body: unknown;
}
type Answer = { readonly status?: number; readonly body?: unknown } | ((response: ServerResponse) => void);

/** The control API's /internal routes as a loopback server that answers what the test says. */
export class FakeApi {
  readonly received: Received[] = [];
  token = 'secret';
  private readonly answers = new Map<string, Answer | (() => Answer)>();
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<FakeApi> {
    const server = createServer();
    const api = new FakeApi(server);
    server.on('request', (request, response) => void api.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** @param line method and path, `GET /internal/nodes` */
  on(line: string, body: unknown, status = 200): void {
    this.answers.set(line, { body, status });
  }

  onEach(line: string, answer: () => unknown): void {
    this.answers.set(line, () => ({ body: answer() }));
  }

  stream(line: string, write: (response: ServerResponse) => void): void {
    this.answers.set(line, () => write);
  }

  bodies(line: string): unknown[] {
    return this.received.filter((one) => one.line === line).map(({ body }) => body);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const line = `${request.method ?? ''} ${request.url ?? ''}`;
    if (request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(401).end(JSON.stringify({ code: 'unauthorized', detail: 'the token is wrong' }));
      return;
    }
    this.received.push({ line, body: text === '' ? null : (JSON.parse(text) as unknown) });
    const found = this.answers.get(line) ?? { status: 200, body: {} };
    const answer = typeof found === 'function' && found.length === 0 ? (found as () => Answer)() : found;
    if (typeof answer === 'function') {
      answer(response);
      return;
    }
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer.body ?? {}));
  }
}
