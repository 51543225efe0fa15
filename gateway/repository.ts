import type { Candidate } from '../domain/routing/pick.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import type { Exchange } from './front/exchange.ts';
import { upstreamHeaders } from './front/headers.ts';
import type { HeaderFields } from './header-fields.ts';
import type { GatewayLimits } from './limits.ts';
import type { Endpoint, Endpoints } from './upstream/endpoints.ts';
import type { UpstreamCall, UpstreamHandler } from './upstream/upstream.ts';

/**
 * Load and unload go to every endpoint of a service, ready or not: a model that is loaded on half of its replicas
 * would be there for every second request. All must succeed; else the answer names the endpoint that did not.
 */
export interface FanOutAnswer {
  readonly status: number;
  /** A server's own answer when all succeeded, else KServe's error body. */
  readonly body: string;
  readonly type: string;
}

export interface RepositoryDeps {
  readonly endpoints: Endpoints;
  readonly limits: GatewayLimits;
}

export async function askAll(
  deps: RepositoryDeps,
  exchange: Exchange,
  service: RoutedService<Endpoint>,
  request: { readonly path: string; readonly requestId: string },
): Promise<FanOutAnswer> {
  const headers = upstreamHeaders(exchange, request.requestId);
  const answers: { address: string; answer: Answer }[] = [];
  const waiting = [...service.endpoints];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      answers.push({
        address: next.address,
        answer: await ask(deps, exchange, next, { ...request, headers }),
      });
    }
  };
  await Promise.all(Array.from({ length: deps.limits.fanOutMax }, work));
  const failed = answers.find(({ answer }) => answer.status < 200 || answer.status > 299);
  if (failed !== undefined) {
    const error = `endpoint ${failed.address}: ${errorText(failed.answer)}`;
    return { status: failed.answer.status, body: JSON.stringify({ error }), type: 'application/json' };
  }
  const first = answers[0]?.answer;
  return { status: first?.status ?? 200, body: first?.body ?? '', type: first?.type ?? 'application/json' };
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type: string;
}

/** One endpoint's answer, kept whole; failures to get one become statuses. */
function ask(
  deps: RepositoryDeps,
  exchange: Exchange,
  candidate: Candidate<Endpoint>,
  request: { readonly path: string; readonly headers: readonly string[] },
): Promise<Answer> {
  const { limits, endpoints } = deps;
  return new Promise((resolve) => {
    endpoints.begin(candidate.load);
    const collector = new Collector(limits.answerBytesMax, (answer) => {
      endpoints.end(candidate.load);
      resolve(answer);
    });
    collector.call = candidate.load.upstream.send(
      {
        method: 'POST',
        path: request.path,
        headers: request.headers,
        body: exchange.body,
        headersMs: limits.headersMs,
        bodyIdleMs: limits.bodyIdleMs,
      },
      collector,
    );
  });
}

class Collector implements UpstreamHandler {
  call: UpstreamCall | null = null;
  private readonly bytesMax: number;
  private readonly done: (answer: Answer) => void;
  private status = 0;
  private type = 'application/json';
  private readonly chunks: Uint8Array[] = [];
  private bytes = 0;

  constructor(bytesMax: number, done: (answer: Answer) => void) {
    this.bytesMax = bytesMax;
    this.done = done;
  }

  onSent(): void {
    // nothing depends on it here
  }

  onHead(status: number, headers: HeaderFields): void {
    this.status = status;
    if (typeof headers['content-type'] === 'string') this.type = headers['content-type'];
  }

  onData(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    this.chunks.push(Buffer.from(chunk)); // the connection reuses its bytes
    if (this.bytes <= this.bytesMax) return;
    this.call?.abort();
    this.done({ status: 502, body: 'its answer is too large', type: 'text/plain' });
  }

  onEnd(): void {
    this.done({ status: this.status, body: Buffer.concat(this.chunks).toString('utf8'), type: this.type });
  }

  onFailure(failure: { readonly kind: string; readonly code: string }): void {
    const status = failure.kind === 'refused' ? 503 : failure.kind === 'timeout' ? 504 : 502;
    this.done({ status, body: `it gave no answer (${failure.code})`, type: 'text/plain' });
  }
}

function errorText({ status, body }: Answer): string {
  try {
    const read: unknown = JSON.parse(body);
    if (typeof read === 'object' && read !== null && 'error' in read && typeof read.error === 'string') {
      return read.error;
    }
  } catch {
    // not JSON: quoted as it is
  }
  return body === '' ? `status ${status}` : body.slice(0, 1000);
}
