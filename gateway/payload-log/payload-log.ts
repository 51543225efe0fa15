import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { Agent } from 'undici';
import { maySee } from '../../domain/access/may.ts';
import { eventTypes, isStructuredEvent, metadataOf } from '../../domain/payload-log/cloud-event.ts';
import type { PayloadEvent } from '../../domain/payload-log/cloud-event.ts';
import { isPlainHttp } from '../../domain/payload-log/payload-log-policy.schema.ts';
import type { LoggerRoute, PayloadLogPolicy } from '../../domain/payload-log/payload-log-policy.schema.ts';
import type { RouteTable, ServiceRoute } from '../../domain/route-table/route-table.schema.ts';
import type { OperationKind } from '../../domain/routing/operation.ts';
import { single } from '../front/headers.ts';
import type { Passage } from '../passage.ts';
import type { Step } from '../step.ts';
import { LoggedExchange } from './logged-exchange.ts';
import { PayloadLogMetrics } from './payload-log-metrics.ts';
import { isPublicOrName, publicLookup } from './sink-address.ts';
import { SinkQueue } from './sink-queue.ts';

/**
 * Sends copies of requests and answers to the sinks of their service: its own (KServe's `logger`) and those of the
 * policy. What later steps and the server see is what is logged: a request of Anthropic's API as the chat completion
 * that it became. Answers that are refusals or errors are not logged, as in KServe.
 */
export interface PayloadLogDeps {
  readonly registry: Registry;
  readonly logger: Logger;
  /** Date.now, for the events' time. */
  readonly now: () => number;
}

/** What one service's requests mean to one sink. */
interface Rule {
  readonly sink: SinkQueue;
  readonly mode: LoggerRoute['mode'];
  readonly metadataHeaders: readonly string[];
  readonly annotations: Readonly<Record<string, string>> | null;
  /** The service's own logger. */
  readonly isOwn: boolean;
}

const logged: ReadonlySet<OperationKind> = new Set([
  ...(['openai-call', 'openai-form', 'anthropic-call', 'v1-call', 'v1-explain', 'v2-call'] as const),
]);

/** One line a sink in this time. */
const complaintEveryMs = 10_000;

export class PayloadLog implements Step {
  readonly name = 'payload-log';
  private readonly deps: PayloadLogDeps;
  private readonly metrics: PayloadLogMetrics;
  /** By service; a service that logs nothing is not in it. */
  private rules = new Map<string, readonly Rule[]>();
  /** Services that want a log and have no sink that may be asked. */
  private sinkless = new Set<string>();
  private readonly sinks = new Map<string, SinkQueue>();
  private sinkPaths = new Set<string>();
  /** Events of ours that a transformer or explainer has: by the id that it was told, the service. As many as it has. */
  private readonly eventsUnderWay = new Map<string, string>();
  private policy: PayloadLogPolicy | null = null;
  /** By sink, or by service without one; those of the table alone. */
  private readonly complainedAt = new Map<string, number>();
  /** Sinks of the policy may be anywhere; those that services name only where anybody may go. */
  private readonly open = new Agent({ connect: { timeout: 5_000 } });
  private readonly guarded = new Agent({ connect: { timeout: 5_000, lookup: publicLookup } });

  constructor(deps: PayloadLogDeps) {
    this.deps = deps;
    this.metrics = new PayloadLogMetrics(deps.registry);
  }

  /** With each new table. */
  apply(table: RouteTable, policy: PayloadLogPolicy): void {
    this.policy = policy;
    this.rules = new Map();
    this.sinkless = new Set();
    const used = new Set<SinkQueue>();
    for (const service of table.services) {
      const key = `${service.namespace}/${service.name}`;
      const rules = this.rulesFor(service, key, policy);
      if (rules.length > 0) this.rules.set(key, rules);
      for (const { sink } of rules) used.add(sink);
    }
    const urls = new Set([...used].map(({ url }) => url));
    this.sinkPaths = new Set([...urls].map((url) => new URL(url).pathname));
    for (const [id, sink] of this.sinks) {
      if (used.has(sink)) sink.bounds = policy;
      else this.sinks.delete(id); // what waits still goes out; a sink that comes back gets a new queue
    }
    for (const about of this.complainedAt.keys())
      if (!urls.has(about) && !this.sinkless.has(about)) this.complainedAt.delete(about);
  }

  enter(passage: Passage): boolean {
    const { policy, rules } = this;
    if ((rules.size === 0 && this.sinkless.size === 0) || policy === null) return true;
    const key = passage.service?.key ?? '';
    if (!logged.has(passage.operation.kind)) return true;
    if (this.sinkless.has(key)) this.metrics.count('no_sink');
    const mine = rules.get(key);
    if (mine === undefined) return true;
    if (this.isOurEvent(passage)) {
      if (passage.upstreamId !== null) this.eventsUnderWay.set(passage.upstreamId, key);
      return true;
    }
    // What a transformer asks its predictor for an event.
    if (this.eventsUnderWay.get(passage.requestId) === key) return true;
    // The predictor's own logger sees what the predictor is asked, which comes by itself after its transformer.
    const here = passage.entry === null ? mine : mine.filter(({ isOwn }) => !isOwn);
    if (here.length > 0) this.log(passage, here, policy);
    return true;
  }

  settle({ upstreamId }: Passage): void {
    if (upstreamId !== null) this.eventsUnderWay.delete(upstreamId);
  }

  /**
   * An event of ours that comes to a service which is logged would beget another, without end. What it says of itself
   * proves nothing, and would let anybody keep a request out of the log: it must come to where events are sent.
   */
  private isOurEvent({ exchange: { path, headers, body } }: Passage): boolean {
    if (!this.sinkPaths.has(path)) return false;
    if (String(headers['ce-type']).startsWith(eventTypes)) return true;
    return body !== null && isStructuredEvent(single(headers['content-type']) ?? '', body);
  }

  /** Waits until all is sent, but no longer than `ms`; then gives up the rest. */
  async close(ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (this.metrics.waiting > 0 && performance.now() < end)
      await new Promise((resolve) => setTimeout(resolve, 20));
    for (const sink of this.sinks.values()) sink.close();
    await Promise.all([this.open.destroy(), this.guarded.destroy()]);
  }

  private log(passage: Passage, rules: readonly Rule[], policy: PayloadLogPolicy): void {
    const { exchange, requestId, service } = passage;
    const { headers } = exchange;
    const id = single(headers['ce-id']) ?? randomUUID();
    const event = (rule: Rule, kind: PayloadEvent['kind'], payload: Payload): PayloadEvent => ({
      kind,
      id,
      source: policy.source,
      time: new Date(this.deps.now()).toISOString(),
      namespace: service?.route.namespace ?? '',
      inferenceService: service?.route.name ?? '',
      component: componentOf(passage),
      requestId,
      metadata: rule.metadataHeaders.length === 0 ? null : metadataOf(headers, rule.metadataHeaders),
      annotations: rule.annotations,
      ...payload,
    });
    const { body } = passage;
    const isTooLarge = body !== null && body.length > policy.payloadBytesMax;
    this.offer(rules, 'response', isTooLarge ? null : (body ?? none), (rule, data) =>
      event(rule, 'request', {
        contentType: single(headers['content-type']) ?? '',
        contentEncoding: single(headers['content-encoding']) ?? '',
        data,
      }),
    );
    if (rules.every(({ mode }) => mode === 'request')) return;
    passage.exchange = new LoggedExchange(exchange, policy.payloadBytesMax, ({ data, ...answer }) => {
      this.offer(rules, 'request', data, (rule, bytes) =>
        event(rule, 'response', { ...answer, data: bytes }),
      );
    });
  }

  /** @param data null: it was too large */
  private offer(
    rules: readonly Rule[],
    except: Rule['mode'],
    data: Buffer | null,
    make: (rule: Rule, data: Buffer) => PayloadEvent,
  ): void {
    let copy: Buffer | null = null;
    for (const rule of rules) {
      if (rule.mode === except) continue;
      if (data === null) this.metrics.count('too_large');
      else {
        copy ??= Buffer.from(data); // the connection's own buffer would stay whole for it
        rule.sink.offer(make(rule, copy));
      }
    }
  }

  private rulesFor(service: ServiceRoute, key: string, policy: PayloadLogPolicy): Rule[] {
    const rules: Rule[] = [];
    for (const { url, format, mode, services, metadataHeaders } of policy.sinks) {
      if (!maySee({ models: services }, { key })) continue;
      const sink = this.sink(url, format, true);
      rules.push({ sink, mode, metadataHeaders, annotations: null, isOwn: false });
    }
    const own = service.logger;
    if (own === undefined) return rules;
    const url = own.url ?? policy.defaultUrl;
    const isTrusted = own.url === undefined || policy.allowPrivateSinks;
    if (url === null || !isPlainHttp(url) || (!isTrusted && !isPublicOrName(url))) {
      this.sinkless.add(key);
      this.complain(
        key,
        { service: key },
        `its logger has no URL that may be asked${url === null ? '' : ': it must be http or https and public'}`,
      );
      return rules;
    }
    rules.push({
      sink: this.sink(url, policy.format, isTrusted),
      mode: own.mode,
      metadataHeaders: own.metadataHeaders ?? [],
      annotations: own.annotations ?? null,
      isOwn: true,
    });
    return rules;
  }

  private sink(url: string, format: 'binary' | 'structured', isTrusted: boolean): SinkQueue {
    const id = `${format} ${isTrusted ? 'open' : 'guarded'} ${url}`;
    const known = this.sinks.get(id);
    if (known !== undefined) return known;
    const dispatcher = isTrusted ? this.open : this.guarded;
    const bounds = this.policy;
    if (bounds === null) throw new Error('a sink is made with a policy');
    const made = new SinkQueue({ url, format, dispatcher }, bounds, this.metrics, (why) => {
      this.complain(url, { sink: withoutQuery(url) }, why);
    });
    this.sinks.set(id, made);
    return made;
  }

  private complain(about: string, names: Readonly<Record<string, string>>, why: string): void {
    const now = this.deps.now();
    if (now - (this.complainedAt.get(about) ?? 0) < complaintEveryMs) return;
    this.complainedAt.set(about, now);
    this.deps.logger.warn({ ...names, why }, 'payloads were not logged');
  }
}

/** For the log: a query may hold a sink's secret. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** KServe's names of a service's parts. */
function componentOf({ entry, operation }: Passage): string {
  if (entry === null) return 'predictor';
  return operation.kind === 'v1-explain' ? 'explainer' : 'transformer';
}

const none = Buffer.alloc(0);

type Payload = Pick<PayloadEvent, 'contentType' | 'contentEncoding' | 'data'>;
