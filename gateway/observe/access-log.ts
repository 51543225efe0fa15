import { pino } from 'pino';
import type { Logger } from 'pino';
import type { AccessLogPolicy } from '../../domain/observe/access-log-policy.schema.ts';
import type { Passage } from '../passage.ts';

/**
 * One line a request. The path goes without its query, which may hold anything; bodies and headers never. Lines are
 * what the process's logger would write, but are put together by hand: they are the only ones on the hot path. They
 * go to the logger's own stream, some at a time where `everyMs` says so: for the stream a line costs as much as a
 * batch. What the stream drops, since nobody takes its bytes, is counted.
 */
export class AccessLog {
  private readonly logger: Logger;
  private readonly stream: LineStream | null;
  /** Between the time and the request's own fields: what the logger adds to each line. */
  private readonly bindings: string;
  private readonly now: () => number;
  private isOn: boolean;
  private share = 1;
  /** Part of a line that is owed: grows by `share` with each request. */
  private owed = 0;
  private batch = '';
  private everyMs: number;
  private timer: NodeJS.Timeout | undefined;
  /** Lines that the stream dropped, of anybody's. */
  dropped = 0;

  /** @param everyMs how long a line may wait for others; 0: each goes at once */
  constructor(logger: Logger, now: () => number, everyMs = 0) {
    this.logger = logger;
    this.now = now;
    this.everyMs = everyMs;
    this.isOn = logger.isLevelEnabled('info');
    const stream = (logger as unknown as Record<symbol, unknown>)[pino.symbols.streamSym];
    this.stream = isLineStream(stream) ? stream : null;
    this.stream?.on?.('drop', (text: string | Buffer) => {
      this.dropped += String(text).split('\n').length - 1;
    });
    const bindings = JSON.stringify(logger.bindings()).slice(1, -1);
    this.bindings = bindings === '' ? '' : `,${bindings}`;
  }

  apply(policy: AccessLogPolicy): void {
    this.share = policy.sample;
    this.isOn = this.share > 0 && this.logger.isLevelEnabled('info');
  }

  write(passage: Passage, status: number, ms: number, isWhole: boolean): void {
    if (!this.isOn) return;
    const isPlain = status < 400 && isWhole && !passage.isCut;
    if (isPlain && this.share < 1) {
      this.owed += this.share;
      if (this.owed < 1) return;
      this.owed -= 1;
    }
    const line = `{"level":30,"time":${this.now()}${this.bindings}${fields(passage, status, ms, isWhole)},"msg":"request"}\n`;
    if (this.everyMs === 0) this.stream?.write(line);
    else this.gather(line);
  }

  /** What waits goes out; from now on each line at once. */
  stopGathering(): void {
    this.everyMs = 0;
    this.flush();
  }

  private gather(line: string): void {
    if (this.batch === '') {
      this.timer = setTimeout(() => {
        this.flush();
      }, this.everyMs);
      this.timer.unref();
    }
    this.batch += line;
    if (this.batch.length >= batchLength) this.flush();
  }

  private flush(): void {
    clearTimeout(this.timer);
    if (this.batch !== '') this.stream?.write(this.batch);
    this.batch = '';
  }
}

interface LineStream {
  write(text: string): unknown;
  /** Of streams that may drop what they are given. */
  readonly on?: (event: 'drop', listener: (text: string | Buffer) => void) => unknown;
}

/** Characters; a batch that is longer goes out at once. */
const batchLength = 16_000;

function isLineStream(stream: unknown): stream is LineStream {
  return (
    typeof stream === 'object' && stream !== null && 'write' in stream && typeof stream.write === 'function'
  );
}

function fields(passage: Passage, status: number, ms: number, isWhole: boolean): string {
  const { exchange, operation, caller } = passage;
  const cached = passage.cache?.result ?? null;
  let text =
    `,"requestId":${quoted(passage.requestId)},"method":${quoted(exchange.method)}` +
    `,"path":${quoted(exchange.path.slice(0, 512))},"status":${status},"bytes":${exchange.bytes}` +
    `,"ms":${Math.round(ms * 1000) / 1000},"protocol":"${operation.protocol}"` +
    `,"model":${quoted(passage.model.slice(0, 256))}` +
    `,"caller":${quoted(caller?.id ?? '')},"tenant":${quoted(caller?.tenant ?? '')}${where(passage)}`;
  if (cached !== null) text += `,"cache":${quoted(cached)}`;
  if (passage.refused !== null) text += `,"refused":"${passage.refused}"`;
  text += used(passage);
  return isWhole && !passage.isCut ? text : `${text},"isWhole":false`;
}

/** Tokens and what they cost, where something was counted. */
function used({ usage, costMicros, isUsageEstimated }: Passage): string {
  const cost = costMicros > 0 ? `,"costMicros":${costMicros}` : '';
  if (usage === null) return cost;
  const { inputTokens, cachedInputTokens, outputTokens } = usage;
  const tokens =
    `,"inputTokens":${inputTokens},"cachedInputTokens":${cachedInputTokens}` +
    `,"outputTokens":${outputTokens}${cost}`;
  return isUsageEstimated ? `${tokens},"isUsageEstimated":true` : tokens;
}

function where({ service, candidate, tries }: Passage): string {
  const { namespace, name } = service?.route ?? nowhere;
  const { revision, address } = candidate ?? nowhere;
  return (
    `,"namespace":${quoted(namespace)},"service":${quoted(name)},"revision":${quoted(revision)}` +
    `,"endpoint":${quoted(address)},"tries":${tries}`
  );
}

const nowhere = { namespace: '', name: '', revision: '', address: '' };

/** Characters that JSON wants escaped, and halves of pairs, which might stand alone. */
const special = /["\\\u0000-\u001f\ud800-\udfff]/;

function quoted(text: string): string {
  return special.test(text) ? JSON.stringify(text) : `"${text}"`;
}
