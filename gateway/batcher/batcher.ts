import { randomUUID } from 'node:crypto';
import type { Registry } from 'prom-client';
import { ownerOf } from '../../domain/access/caller.ts';
import type { BatchForm, Joinable, WireMessage } from '../../domain/batcher/batch-form.ts';
import type { BatcherRoute } from '../../domain/batcher/batcher.schema.ts';
import { v1Batch } from '../../domain/batcher/v1-batch.ts';
import { v2Batch } from '../../domain/batcher/v2-batch.ts';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { passedAuthorization } from '../access/passed-authorization.ts';
import { tierFor } from '../admission/tier-for.ts';
import { askInternally } from '../front/internal-exchange.ts';
import type { InternalAnswer } from '../front/internal-exchange.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import { deliver } from './batch-answer.ts';
import { Batch } from './batch.ts';
import type { Member } from './batch.ts';
import { BatcherMetrics } from './batcher-metrics.ts';

/**
 * Joins requests of a service that has a `batcher` (KServe's field) into batches, and gives each the part of the answer
 * that is its own. Better than KServe's agent: V2 as well as V1, a batch for each path and form, statuses and ids of
 * its own for each request, no batch over its size, and a request that makes the server refuse a batch fails alone:
 * the others, and it, are then asked for by themselves.
 */
export interface BatcherDeps {
  readonly registry: Registry;
  readonly nowMs: () => number;
  readonly bounds?: BatcherBounds;
}

export interface BatcherBounds {
  /** Requests that wait, for others or for their batch; those beyond go by themselves. */
  readonly waitingMax: number;
  /** Bytes of their bodies. */
  readonly bytesMax: number;
  /** Of an answer to a batch; a larger one is given up, and its requests go by themselves. */
  readonly answerBytesMax: number;
}

const defaultBounds: BatcherBounds = {
  waitingMax: 5_000,
  bytesMax: 256 * 1024 * 1024,
  answerBytesMax: 256 * 1024 * 1024,
};
/** Longer keys (many tensors, long parameters) are not worth a batch. */
const keyLengthMax = 8_192;
/** Answers in a row that did not fall apart, after which a service is asked without batches until the next table. */
const misfitsMax = 3;

export class Batcher implements Step {
  readonly name = 'batch';
  private readonly metrics: BatcherMetrics;
  private readonly bounds: BatcherBounds;
  private readonly nowMs: () => number;
  /** By service; one without a batcher is not in it. */
  private readonly settings = new Map<string, BatcherRoute>();
  private readonly misfits = new Map<string, number>();
  /** Batches that take more, by key. */
  private readonly open = new Map<string, Batch<Passage>>();
  private flow: Flow | null = null;

  constructor({ registry, nowMs, bounds = defaultBounds }: BatcherDeps) {
    this.metrics = new BatcherMetrics(registry);
    this.nowMs = nowMs;
    this.bounds = bounds;
  }

  /** With each new table. */
  apply(table: RouteTable): void {
    this.settings.clear();
    this.misfits.clear();
    for (const { namespace, name, batcher } of table.services)
      if (batcher !== undefined) this.settings.set(`${namespace}/${name}`, batcher);
  }

  enter(passage: Passage, flow: Flow): boolean {
    if (this.settings.size === 0) return true;
    const form = formOf(passage);
    if (form === null) return true;
    const settings = this.settings.get(passage.service?.key ?? '');
    if (settings === undefined) return true;
    this.flow = flow;
    return this.join(passage, form, settings);
  }

  settle(passage: Passage): void {
    const { batch } = passage;
    if (batch === null) return;
    const member = batch.members.find((one) => one.passage === passage);
    if (member !== undefined) {
      this.release(member);
      if (!batch.isSent) batch.rows -= member.request.rows;
    }
    if (batch.isWanted) return;
    if (batch.isSent) batch.stop.abort();
    else this.close(batch);
  }

  /** @returns true: it goes on by itself */
  private join(passage: Passage, form: BatchForm, settings: BatcherRoute): boolean {
    const { metrics, bounds } = this;
    const { service, body } = passage;
    if (service === null || body === null) return true;
    if ((this.misfits.get(service.key) ?? 0) >= misfitsMax) {
      metrics.count('given_up');
      return true;
    }
    if (metrics.waiting >= bounds.waitingMax || metrics.bytes + body.length > bounds.bytesMax) {
      metrics.count('crowded');
      return true;
    }
    const message = messageOf(passage, body);
    const request = message === null ? null : form.read(message);
    if (request === null || request.key.length > keyLengthMax) {
      metrics.count('unjoinable');
      return true;
    }
    if (request.rows >= settings.maxBatchSize) {
      metrics.count('alone');
      return true;
    }
    this.place(passage, request, keyOf(passage, service, request), { form, settings });
    return false;
  }

  private place(
    passage: Passage,
    request: Joinable,
    key: string,
    { form, settings }: { readonly form: BatchForm; readonly settings: BatcherRoute },
  ): void {
    let batch = this.open.get(key);
    if (batch !== undefined && batch.rows + request.rows > batch.settings.maxBatchSize) {
      this.send(batch);
      batch = undefined;
    }
    if (batch === undefined) {
      const made = new Batch<Passage>(key, form, settings);
      made.timer = setTimeout(() => {
        this.send(made);
      }, settings.maxLatencyMs);
      this.open.set(key, made);
      batch = made;
    }
    batch.add(passage, request);
    passage.batch = batch;
    this.metrics.waiting += 1;
    this.metrics.bytes += passage.body?.length ?? 0;
    if (batch.rows >= batch.settings.maxBatchSize) this.send(batch);
  }

  private close(batch: Batch<Passage>): void {
    clearTimeout(batch.timer);
    if (this.open.get(batch.key) === batch) this.open.delete(batch.key);
  }

  private send(batch: Batch<Passage>): void {
    this.close(batch);
    batch.isSent = true;
    // Those who left took their rows along.
    const members = batch.members.filter(({ isOut }) => !isOut);
    batch.members.splice(0, Infinity, ...members);
    batch.rows = members.reduce((sum, { request }) => sum + request.rows, 0);
    const [first] = members;
    if (first === undefined) return;
    if (members.length === 1) {
      this.goAlone(first, 'alone');
      return;
    }
    this.metrics.batches += 1;
    this.metrics.rows += batch.rows;
    this.ask(batch, first.passage)
      .then((answer) => {
        this.answered(batch, answer);
      })
      .catch(() => {
        this.lost(batch);
      });
  }

  // Async so that nothing thrown on the way is lost: its requests are then asked for by themselves.
  private async ask(batch: Batch<Passage>, first: Passage): Promise<InternalAnswer> {
    const joined = batch.form.join(batch.members.map(({ request }) => request));
    const body = Buffer.from(joined.body.buffer, joined.body.byteOffset, joined.body.byteLength);
    batch.timer = setTimeout(() => {
      batch.isLate = true;
      batch.stop.abort();
    }, batch.settings.timeoutMs);
    return await askInternally(
      (exchange) => {
        const { flow } = this;
        if (flow === null || first.plan === null) throw new Error('a batch of requests that never came');
        const fork = flow.fork(first, exchange);
        fork.plan = { ...first.plan, body };
        batch.fork = fork;
        flow.proceed(fork);
      },
      { method: first.exchange.method, path: first.exchange.path, headers: headersFor(first, joined), body },
      this.bounds.answerBytesMax,
      batch.stop.signal,
    );
  }

  private answered(batch: Batch<Passage>, answer: InternalAnswer): void {
    clearTimeout(batch.timer);
    if (answer.status >= 200 && answer.status < 300) {
      this.split(batch, answer);
      return;
    }
    // A server that was lost over the batch was perhaps lost over one of its requests.
    const refused = batch.fork?.refused ?? null;
    const isLost = refused === 'upstream_failed' || refused === 'upstream_garbage';
    const isForOne = isLost || isRefusalOfContent(answer.status);
    const owner = refused === 'tenant_queue_full' ? ownerIn(batch.fork) : null;
    for (const member of batch.members) {
      const isOfOther = owner !== null && ownerIn(member.passage) !== owner;
      if (isForOne || isOfOther) this.goAlone(member, 'again');
      else this.answer(batch, member, answer, { body: answer.body, headLength: null });
    }
  }

  private split(batch: Batch<Passage>, answer: InternalAnswer): void {
    const key = batch.members[0]?.passage.service?.key ?? '';
    const length = answer.headers['inference-header-content-length'];
    const requests = batch.members.map(({ request }) => request);
    const isPlain = answer.headers['content-encoding'] === undefined;
    const message = { body: answer.body, headLength: length === undefined ? null : Number(length) };
    const parts = isPlain ? batch.form.split(message, requests, randomUUID) : null;
    if (parts === null) {
      this.misfits.set(key, (this.misfits.get(key) ?? 0) + 1);
      for (const member of batch.members) this.goAlone(member, 'again');
      return;
    }
    this.misfits.delete(key);
    for (const [at, member] of batch.members.entries()) {
      const part = parts[at];
      if (part !== undefined) this.answer(batch, member, answer, part);
    }
  }

  private answer(
    batch: Batch<Passage>,
    member: Member<Passage>,
    answer: InternalAnswer,
    own: WireMessage,
  ): void {
    if (member.isOut) return;
    this.release(member);
    this.metrics.count('joined');
    try {
      deliver(batch, member, answer, own, this.nowMs());
    } catch (error) {
      this.flow?.failed(member.passage, error); // of this request; the others get theirs
    }
  }

  /** No answer: it was cut, took too long or was too large; or nobody wants it any more. */
  private lost(batch: Batch<Passage>): void {
    clearTimeout(batch.timer);
    for (const member of batch.members) {
      if (member.isOut) continue;
      if (!batch.isLate) this.goAlone(member, 'again');
      else {
        this.release(member);
        const message = `The server did not answer a batch within the ${batch.settings.timeoutMs} ms that its service allows.`;
        this.flow?.refuse(member.passage, { code: 'upstream_timeout', message });
      }
    }
  }

  private goAlone(member: Member<Passage>, why: 'alone' | 'again'): void {
    if (member.isOut) return;
    this.release(member);
    this.metrics.count(why);
    this.flow?.proceed(member.passage);
  }

  private release(member: Member<Passage>): void {
    if (member.isOut) return;
    member.isOut = true;
    member.passage.batch = null;
    this.metrics.waiting -= 1;
    this.metrics.bytes -= member.passage.body?.length ?? 0;
  }
}

/** What is wrong with one request is no matter of the others; a server that is busy or gone is one of all. */
function isRefusalOfContent(status: number): boolean {
  return (
    (status >= 400 && status < 500 && status !== 408 && status !== 429) || status === 500 || status === 501
  );
}

/** Whose share of the queue a request takes; the batch takes its first one's. */
function ownerIn(passage: Passage | null): string {
  const caller = passage?.caller ?? null;
  return caller === null ? '' : ownerOf(caller);
}

function formOf({ operation, entry }: Passage): BatchForm | null {
  if (entry !== null) return null; // what its transformer asks is batched
  if (operation.kind === 'v1-call') return v1Batch;
  return operation.kind === 'v2-call' && operation.tail.endsWith('/infer') ? v2Batch : null;
}

function messageOf({ exchange: { headers } }: Passage, body: Buffer): WireMessage | null {
  if (headers['cookie'] !== undefined) return null; // a cookie is one client's, and its answer may be, too
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') return null;
  const length = headers['inference-header-content-length'];
  if (length === undefined) return { body, headLength: null };
  return typeof length === 'string' && /^\d{1,12}$/.test(length)
    ? { body, headLength: Number(length) }
    : null;
}

/**
 * One service, one path, one form, one tier, one wish for the answer's type, one choice of services that may stand in;
 * and one person, where the server is told who asks.
 */
function keyOf(passage: Passage, service: RoutedService, request: Joinable): string {
  const { exchange, plan, caller } = passage;
  const person = passedAuthorization(exchange, caller, service) ?? '';
  const accept = String(exchange.headers['accept'] ?? '');
  const path = plan?.path ?? '';
  return [service.key, path, tierFor(passage), standInsOf(passage), person, accept, request.key].join('\n');
}

/** What decides who may answer: a batch is asked in the name of its first caller, for all of them. */
function standInsOf({ caller, modelRoute, alternatives }: Passage): string {
  const models = caller === null || caller.models.includes('*') ? '*' : JSON.stringify(caller.models);
  if (modelRoute === null && alternatives.length === 0) return models;
  // In one order: which of them is best changes with their load.
  const keys = alternatives.map(({ key }) => key).sort();
  return [models, modelRoute?.key, ...keys].join(' ');
}

/** What may be said for all of a batch: `keyOf` sees to it that it is the same for all. */
const ofAll = ['accept', 'x-muster-tier'];
/** By all three the forwarding tells a person's token, which it hands on, from a key of the gateway. */
const ofPerson = [...ofAll, 'authorization', 'x-api-key', 'api-key'];

/** Those that are the same for all; nothing of one client goes along for the others. An answer must come as it is to be split. */
function headersFor(
  { exchange, requestId, service }: Passage,
  { headLength }: WireMessage,
): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of service?.route.passAuthorization === true ? ofPerson : ofAll) {
    const value = exchange.headers[name];
    if (typeof value === 'string') headers[name] = value;
  }
  headers['content-type'] = headLength === null ? 'application/json' : 'application/octet-stream';
  if (headLength !== null) headers['inference-header-content-length'] = String(headLength);
  headers['x-request-id'] = requestId;
  return headers;
}
