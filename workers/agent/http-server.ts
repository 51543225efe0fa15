import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { areNames } from '../../domain/node/command.ts';
import { listLogs, tailLog, type ReplicaLog } from '../../activities/local/replica/log-file.ts';
import { followLog } from '../../activities/local/replica/follow-log.ts';

export interface AgentServerDeps {
  readonly host: string;
  readonly tokenFile: string;
  readonly modelLogs: string;
  readonly registry: Registry;
  readonly logger: Logger;
}

const limits = {
  tailLines: 10_000,
  defaultTailLines: 100,
  tailBytes: 16 * 1024 * 1024,
  followers: 64,
} as const;

/**
 * The agent's own little server, for the control API alone:
 * GET /logs/{namespace}/{name}?tail=&follow=&revision=&replica=, GET /metrics, GET /healthz.
 */
export class AgentServer {
  readonly #deps: AgentServerDeps;
  readonly #server: Server;
  readonly #closing = new AbortController();
  #followers = 0;

  constructor(deps: AgentServerDeps) {
    this.#deps = deps;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        deps.logger.error({ err: error, url: request.url }, 'request failed');
        if (response.headersSent) response.destroy();
        else text(response, 500, 'The agent could not answer; its log says why.');
      });
    });
  }

  /** @returns http://host:port */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, this.#deps.host, resolve);
    });
    const { port } = this.#server.address() as AddressInfo;
    return `http://${this.#deps.host}:${port}`;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await new Promise((resolve) => {
      this.#server.close(resolve);
      this.#server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://agent');
    if (request.method !== 'GET') {
      text(response, 405, 'Only GET is known here.');
    } else if (url.pathname === '/healthz') {
      text(response, 200, 'ok\n');
    } else if (!(await this.#isAllowed(request))) {
      text(response, 401, "The bearer token of the data folder's internal-token file is needed.");
    } else if (url.pathname === '/metrics') {
      const { registry } = this.#deps;
      response.setHeader('content-type', registry.contentType);
      response.end(await registry.metrics());
    } else {
      await this.#logs(url, response);
    }
  }

  /** Compared by digest and in constant time: neither length nor content leaks. */
  async #isAllowed(request: IncomingMessage): Promise<boolean> {
    const token = (await readFile(this.#deps.tokenFile, 'utf8').catch(() => '')).trim();
    const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
    const digest = (value: string): Buffer => createHash('sha256').update(value).digest();
    return timingSafeEqual(digest(given), digest(token)) && token !== '';
  }

  async #logs(url: URL, response: ServerResponse): Promise<void> {
    const match = /^\/logs\/([^/]+)\/([^/]+)$/.exec(url.pathname);
    const [, namespace, name] = match ?? [];
    if (namespace === undefined || name === undefined || !areNames(namespace, name)) {
      text(response, 404, 'There is nothing here. Logs are at /logs/{namespace}/{name}.');
      return;
    }
    const query = parseQuery(url.searchParams);
    if (typeof query === 'string') {
      text(response, 400, query);
      return;
    }
    const log = choose(await listLogs(this.#deps.modelLogs, namespace, name), query);
    if (!log) {
      text(response, 404, `There is no log of ${namespace}/${name} on this node.`);
      return;
    }
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    response.setHeader('x-muster-revision', log.revision);
    response.setHeader('x-muster-replica', String(log.index));
    if (query.follow) await this.#follow(log, query.tail, response);
    else response.end(await tailLog(log.path, query.tail, limits.tailBytes));
  }

  async #follow(log: ReplicaLog, tail: number, response: ServerResponse): Promise<void> {
    if (this.#followers >= limits.followers) {
      response.setHeader('retry-after', '10');
      text(response, 503, `Already ${limits.followers} readers follow logs here.`);
      return;
    }
    this.#followers += 1;
    const gone = new AbortController();
    response.once('close', () => {
      gone.abort();
    });
    if (response.closed) gone.abort(); // it left while its log was looked for
    try {
      response.flushHeaders();
      const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
      for await (const chunk of followLog(log.path, { tail, tailBytes: limits.tailBytes, signal })) {
        if (!response.write(chunk)) await drained(response, signal);
      }
      response.end();
    } finally {
      this.#followers -= 1;
    }
  }
}

interface LogQuery {
  readonly tail: number;
  readonly follow: boolean;
  readonly revision: string | null;
  readonly replica: number | null;
}

/** @returns the query, or a sentence that says what is wrong with it */
function parseQuery(query: URLSearchParams): LogQuery | string {
  const tail = wholeNumber(query.get('tail'));
  const replica = wholeNumber(query.get('replica'));
  const revision = query.get('revision');
  if (Number.isNaN(tail)) return 'tail is a number of lines.';
  if (Number.isNaN(replica)) return 'replica is the index of a replica.';
  if (revision !== null && !areNames(revision)) return 'revision is the name of a revision.';
  const follow = ['true', '1', ''].includes(query.get('follow') ?? 'false');
  return { tail: Math.min(tail ?? limits.defaultTailLines, limits.tailLines), follow, revision, replica };
}

function wholeNumber(value: string | null): number | null {
  if (value === null || value === '') return null;
  return /^\d{1,9}$/.test(value) ? Number(value) : NaN;
}

/** Logs come newest revision first. */
function choose(logs: readonly ReplicaLog[], { revision, replica }: LogQuery): ReplicaLog | undefined {
  return logs.find(
    (log) => (revision === null || log.revision === revision) && (replica === null || log.index === replica),
  );
}

function text(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(body);
}

/** Until the reader takes more, or is gone: also when it was gone before. */
async function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  await once(response, 'drain', { signal }).catch(() => undefined);
}
