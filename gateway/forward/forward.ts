import type { Candidate } from '../../domain/routing/pick.ts';
import { retryDelayMs } from '../../domain/routing/retry.ts';
import { unreadyReason } from '../../domain/routing/listing.ts';
import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import { streamErrorEvent } from '../errors.ts';
import type { Refusal, RefusalCode } from '../errors.ts';
import { downstreamHeaders, upstreamHeaders } from '../front/headers.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import type { Picker } from '../pick/picker.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';
import type { UpstreamCall, UpstreamFailure, UpstreamHandler } from '../upstream/upstream.ts';

/**
 * Carries one request to an endpoint and its response back, byte for byte, with further tries where that is safe.
 * Each try picks from the table of that moment, so a replacement under way is followed. Once a response head has
 * come, there is no other try: a response that breaks after it is never passed off as whole.
 */
export interface ForwardDeps {
  readonly limits: GatewayLimits;
  readonly endpoints: Endpoints;
  readonly picker: Picker;
  /** The table of now. */
  readonly routes: () => Routes<Endpoint> | null;
  readonly nowMs: () => number;
  readonly chance: () => number;
  /** Answers with an error body in the request's protocol. */
  readonly refuse: (passage: Passage, refusal: Refusal) => void;
  readonly onRetry: (service: RoutedService<Endpoint>) => void;
  readonly onUpstreamFailure: (service: RoutedService<Endpoint>, failure: UpstreamFailure) => void;
}

export interface ForwardPlan {
  readonly path: string;
  readonly body: Uint8Array | null;
  /** A pure function of its body: it may be sent again after it was sent once. */
  readonly isRepeatable: boolean;
}

export function forward(
  deps: ForwardDeps,
  passage: Passage,
  service: RoutedService<Endpoint>,
  plan: ForwardPlan,
): void {
  new Forward(deps, passage, service, plan).begin();
}

class Forward implements UpstreamHandler {
  private readonly deps: ForwardDeps;
  private readonly passage: Passage;
  private readonly plan: ForwardPlan;
  private readonly headers: string[];
  private service: RoutedService<Endpoint>;
  private candidate: Candidate<Endpoint> | null = null;
  private call: UpstreamCall | null = null;
  private readonly tried: string[] = [];
  private wasSent = false;
  private sentTries = 0;
  private isEventStream = false;
  /** A small answer waits for its end, so that its headers can tell what it cost; null: it passes as it comes. */
  private held: { status: number; headers: string[]; parts: Buffer[] } | null = null;
  private isOver = false;
  /** Back-off, deadline, stalled client: at most one of the first, one of each other. */
  private backoff: NodeJS.Timeout | undefined;
  private deadline: NodeJS.Timeout | undefined;
  private stall: NodeJS.Timeout | undefined;

  constructor(deps: ForwardDeps, passage: Passage, service: RoutedService<Endpoint>, plan: ForwardPlan) {
    this.deps = deps;
    this.passage = passage;
    this.service = service;
    this.plan = plan;
    this.headers = upstreamHeaders(passage.exchange, passage.requestId);
  }

  begin(): void {
    this.passage.exchange.onClose(() => {
      this.clientGone();
    });
    const { timeoutMs } = this.service.route;
    if (timeoutMs !== null) {
      this.deadline = setTimeout(() => {
        this.outOfTime(timeoutMs);
      }, timeoutMs);
    }
    this.try();
  }

  onSent(): void {
    this.wasSent = true;
    this.sentTries += 1;
  }

  onHead(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    const { passage, deps } = this;
    const { exchange, requestId, startedMs, tap } = passage;
    const type = headers['content-type'];
    this.isEventStream = typeof type === 'string' && type.startsWith('text/event-stream');
    passage.firstByteMs = deps.nowMs() - startedMs;
    const out = downstreamHeaders(headers, requestId);
    if (tap !== null) {
      tap.onHead(status, headers);
      const length = headers['content-length'];
      if (typeof length === 'string' && Number(length) <= deps.limits.heldAnswerBytesMax) {
        this.held = { status, headers: out, parts: [] };
        return;
      }
    }
    if (passage.responseHeaders !== null) out.push(...passage.responseHeaders);
    exchange.start(status, out);
  }

  onData(chunk: Uint8Array): void {
    const { tap, exchange } = this.passage;
    tap?.onData(chunk);
    if (this.held !== null) {
      this.held.parts.push(Buffer.from(chunk));
      return;
    }
    if (exchange.write(chunk)) return;
    this.call?.pause();
    this.stall = setTimeout(() => {
      this.cut('the client took no bytes for too long');
    }, this.deps.limits.clientStallMs);
    exchange.onDrain(() => {
      clearTimeout(this.stall);
      this.call?.resume();
    });
  }

  onEnd(): void {
    const { passage } = this;
    this.release();
    this.finish();
    this.endTap(true);
    this.sendHeld();
    passage.exchange.end();
  }

  /** What taps add as headers (usage, cost) is known now. */
  private sendHeld(): void {
    const { held, passage } = this;
    if (held === null) return;
    this.held = null;
    if (passage.responseHeaders !== null) held.headers.push(...passage.responseHeaders);
    passage.exchange.start(held.status, held.headers);
    for (const part of held.parts) passage.exchange.write(part);
  }

  private endTap(isWhole: boolean): void {
    const { passage } = this;
    const { tap } = passage;
    passage.tap = null;
    tap?.onEnd(isWhole);
  }

  onFailure(failure: UpstreamFailure): void {
    const { deps, passage, candidate } = this;
    this.release();
    deps.onUpstreamFailure(this.service, failure);
    if (passage.exchange.isStarted || this.held !== null) {
      this.breakOff(failure);
      return;
    }
    const now = deps.nowMs();
    if (failure.kind === 'refused' && candidate !== null)
      candidate.load.skipUntilMs = now + deps.limits.skipMs;
    const delay = retryDelayMs(
      {
        kind: failure.kind,
        wasSent: this.wasSent,
        tries: passage.tries,
        sentTries: this.sentTries,
        elapsedMs: now - passage.startedMs,
        isRepeatable: this.plan.isRepeatable,
      },
      deps.limits,
      deps.chance,
    );
    if (delay === null) {
      this.refuse(this.failureRefusal(failure));
      return;
    }
    this.backoff = setTimeout(() => {
      deps.onRetry(this.service);
      this.try();
    }, delay);
  }

  private try(): void {
    const { deps, passage, plan } = this;
    this.service = deps.routes()?.byKey.get(this.service.key) ?? this.service;
    passage.service = this.service;
    const candidate = deps.picker.pick(passage, this.service, this.tried, deps.nowMs());
    if (candidate === null) {
      this.refuse(notReady(this.service, passage.model));
      return;
    }
    this.candidate = candidate;
    passage.candidate = candidate;
    passage.tries += 1;
    this.tried.push(candidate.address);
    this.wasSent = false;
    deps.endpoints.begin(candidate.load);
    this.call = candidate.load.upstream.send(
      {
        method: passage.exchange.method,
        path: plan.path,
        headers: this.headers,
        body: plan.body,
        headersMs: Math.min(this.service.route.timeoutMs ?? Infinity, deps.limits.headersMs),
        bodyIdleMs: deps.limits.bodyIdleMs,
      },
      this,
    );
  }

  /** The response began and its server was lost: say so in a stream, else break the connection. */
  private breakOff(failure: UpstreamFailure): void {
    const { exchange } = this.passage;
    const refusal = this.failureRefusal(failure);
    this.passage.refused = refusal.code;
    this.passage.isCut = true;
    this.finish();
    this.endTap(false);
    if (this.held !== null) {
      this.held = null; // nothing was sent yet: an error says it better than half an answer
      this.deps.refuse(this.passage, refusal);
    } else if (this.isEventStream) {
      exchange.write(streamErrorEvent(refusal));
      exchange.end();
    } else exchange.cut();
  }

  private cut(message: string): void {
    this.call?.abort();
    this.release();
    this.breakOff({ kind: 'timeout', code: 'CLIENT_STALLED', message });
    this.passage.exchange.cut();
  }

  private outOfTime(timeoutMs: number): void {
    const message = `it took longer than the ${timeoutMs} ms that its service allows`;
    this.call?.abort();
    this.release();
    const failure: UpstreamFailure = { kind: 'timeout', code: 'REQUEST_TIMEOUT', message };
    this.deps.onUpstreamFailure(this.service, failure);
    if (this.passage.exchange.isStarted || this.held !== null) this.breakOff(failure);
    else this.refuse(this.failureRefusal(failure));
  }

  /** Also after an ordinary end, when there is nothing left to do. */
  private clientGone(): void {
    if (this.isOver) return;
    this.call?.abort();
    this.release();
    this.finish();
    this.endTap(false);
  }

  private refuse(refusal: Refusal): void {
    this.finish();
    this.deps.refuse(this.passage, refusal);
  }

  private release(): void {
    if (this.candidate === null) return;
    this.deps.endpoints.end(this.candidate.load);
    this.candidate = null;
  }

  private finish(): void {
    this.isOver = true;
    clearTimeout(this.backoff);
    clearTimeout(this.deadline);
    clearTimeout(this.stall);
  }

  private failureRefusal(failure: UpstreamFailure): Refusal {
    const name = this.passage.model === '' ? this.service.route.name : this.passage.model;
    const { code, what } = failureWords[failure.kind];
    // The failure's own message may hold addresses: that is for the log.
    return { code, message: `The server of model '${name}' ${what} (${failure.code}).` };
  }
}

const failureWords: Record<UpstreamFailure['kind'], { code: RefusalCode; what: string }> = {
  refused: { code: 'upstream_unreachable', what: 'cannot be reached' },
  reset: { code: 'upstream_failed', what: 'broke the connection' },
  timeout: { code: 'upstream_timeout', what: 'did not answer in time' },
  garbage: { code: 'upstream_garbage', what: 'sent something that is not HTTP' },
};

export function notReady(service: RoutedService, model: string): Refusal {
  const name = model === '' ? service.route.name : model;
  const reason = unreadyReason(service).replace(/\.$/, '');
  const kserve = `Model with name ${name} is not ready. ${reason}.`;
  return { code: 'model_not_ready', message: `The model '${name}' is not ready. ${reason}.`, kserve };
}
