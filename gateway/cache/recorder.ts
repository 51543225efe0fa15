import type { CacheRules } from '../../domain/cache/cache-policy.schema.ts';
import { judge } from '../../domain/cache/judge.ts';
import type { Form } from '../../domain/cache/judge.ts';
import type { Delivery } from '../../domain/cache/request.ts';
import type { ResponseTap } from '../step.ts';
import type { UnkeptReason } from './cache-metrics.ts';
import type { Entry } from './entry.ts';

/** What is known of the request whose answer is recorded. */
export interface Recording {
  readonly rules: CacheRules;
  readonly delivery: Delivery;
  /** Answers asked for at once. */
  readonly choices: number;
  /** V1 or V2: bodies may be binary. */
  readonly isKserve: boolean;
  /** Of the server that answers now: another may go on where it was cut. */
  readonly revision: () => string;
}

export type Recorded =
  | { readonly kind: 'answer'; readonly entry: Entry }
  | {
      readonly kind: 'unfit';
      readonly reason: UnkeptReason;
      /** The next answer will be no better: nobody needs to wait for it. */
      readonly isLasting: boolean;
    };

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/**
 * Copies a server's answer as it passes, and says at its end whether it may be given again; that it may not, as soon
 * as it is known: the end of an answer may come as late as its client wants.
 */
export class Recorder implements ResponseTap {
  private readonly recording: Recording;
  private readonly nowMs: () => number;
  private readonly done: (recorded: Recorded) => void;
  private status = 0;
  private contentType = '';
  private jsonLength: string | null = null;
  /** Filled as it comes, where its length is known; else the pieces are put together at the end. */
  private body: Buffer | null = null;
  private readonly parts: Buffer[] = [];
  private bytes = 0;
  private fault: UnkeptReason | null = null;
  private revision = '';

  /**
   * @param nowMs Date.now
   * @param done called once
   */
  constructor(recording: Recording, nowMs: () => number, done: (recorded: Recorded) => void) {
    this.recording = recording;
    this.nowMs = nowMs;
    this.done = done;
  }

  /** The answer may still be kept. */
  get isHopeful(): boolean {
    return this.fault === null;
  }

  onHead(status: number, headers: Headers): void {
    this.status = status;
    this.contentType = text(headers['content-type']);
    this.jsonLength = text(headers['inference-header-content-length']) || null;
    this.revision = this.recording.revision();
    const length = Number(headers['content-length']);
    const isTooLarge = length > this.recording.rules.entryBytesMax;
    const fault = this.headFault(headers) ?? (isTooLarge ? 'too_large' : null);
    if (fault !== null) this.giveUp(fault);
    // Of its own, not of a pool: a small slice would hold its whole pool in memory.
    else if (Number.isInteger(length)) this.body = Buffer.allocUnsafeSlow(length);
  }

  onData(chunk: Uint8Array): void {
    if (this.fault !== null) return;
    const { body, bytes } = this;
    this.bytes += chunk.length;
    if (this.bytes > (body?.length ?? this.recording.rules.entryBytesMax)) {
      this.parts.length = 0;
      this.giveUp('too_large');
    } else if (body === null) this.parts.push(Buffer.from(chunk));
    else body.set(chunk, bytes);
  }

  onEnd(isWhole: boolean): void {
    if (this.fault !== null) return;
    const isCut = !isWhole || (this.body !== null && this.bytes < this.body.length);
    const isMixed = this.revision !== this.recording.revision();
    if (isCut || isMixed) this.giveUp(isCut ? 'cut' : 'mixed');
    else this.done(this.conclude());
  }

  private giveUp(fault: UnkeptReason): void {
    this.fault = fault;
    this.done(unfit(fault));
  }

  private headFault(headers: Headers): UnkeptReason | null {
    const { rules, delivery, isKserve } = this.recording;
    const isRefusal = rules.negativeTtlSeconds > 0 && rules.negativeStatuses.includes(this.status);
    if (this.status !== 200 && !isRefusal) return 'status';
    const control = text(headers['cache-control']).toLowerCase();
    if (/\bno-store\b/.test(control) || (rules.scope === 'shared' && /\bprivate\b/.test(control)))
      return 'no_store';
    if (!isSameForAll(text(headers['vary']))) return 'no_store';
    const encoding = text(headers['content-encoding']).toLowerCase();
    if (encoding !== '' && encoding !== 'identity') return 'encoded';
    if (isRefusal || isKserve || this.isJson) return null;
    return delivery !== 'plain' && this.isEvents ? null : 'encoded';
  }

  private get isJson(): boolean {
    return this.contentType.startsWith('application/json');
  }

  private get isEvents(): boolean {
    return this.contentType.startsWith('text/event-stream');
  }

  private conclude(): Recorded {
    const { delivery, choices, isKserve, rules } = this.recording;
    const body = this.body ?? this.joined();
    const form: Form = this.isEvents ? 'events' : 'json';
    const now = this.nowMs();
    const { status, contentType, jsonLength } = this;
    const ttlMs = 1000 * (status === 200 ? rules.ttlSeconds : rules.negativeTtlSeconds);
    const made = {
      status,
      form,
      delivery,
      contentType,
      jsonLength,
      body,
      storedAtMs: now,
      expiresAtMs: now + ttlMs,
      staleUntilMs: now + ttlMs + (status === 200 ? rules.staleSeconds * 1000 : 0),
    };
    if (status !== 200 || (isKserve && (jsonLength !== null || !this.isJson)))
      return { kind: 'answer', entry: { ...made, hasUsage: false, inputTokens: 0, outputTokens: 0 } };
    const judged = judge(body.toString('utf8'), form, delivery, choices);
    if (judged.kind === 'unfit') return unfit(judged.reason);
    const { hasUsage, inputTokens, outputTokens } = judged;
    return { kind: 'answer', entry: { ...made, hasUsage, inputTokens, outputTokens } };
  }

  private joined(): Buffer {
    const body = Buffer.allocUnsafeSlow(this.bytes);
    let at = 0;
    for (const part of this.parts) at += part.copy(body, at);
    return body;
  }
}

/** Headers of a request that change how an answer is delivered, and not what it says. */
const harmless: ReadonlySet<string> = new Set(['', 'accept', 'accept-encoding', 'origin']);

/** A server that answers by other headers of the request than the key holds says so in `vary`. */
function isSameForAll(vary: string): boolean {
  const names = vary.toLowerCase().split(',');
  return names.every((name) => harmless.has(name.trim()) || name.trim().startsWith('access-control-'));
}

const lasting: ReadonlySet<UnkeptReason> = new Set(['too_large', 'no_store', 'encoded', 'not_json']);

function unfit(reason: UnkeptReason): Recorded {
  return { kind: 'unfit', reason, isLasting: lasting.has(reason) };
}

function text(header: string | string[] | undefined): string {
  return typeof header === 'string' ? header : (header?.join(',') ?? '');
}
