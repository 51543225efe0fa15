import { endsEvent } from '../../domain/sse/whole-events.ts';
import { costOf } from '../../domain/usage/price.ts';
import type { Price } from '../../domain/usage/price.ts';
import { estimatedInput } from '../../domain/usage/estimate.ts';
import type { Usage } from '../../domain/usage/usage.ts';
import type { Passage } from '../passage.ts';
import type { ResponseTap } from '../step.ts';
import { countEvents } from './count-events.ts';
import { toldUsage } from './told-usage.ts';
import { UsageScanner } from './usage-scanner.ts';

/** Reads what an answer used while it passes, and says it in headers where the answer was held back. */
export class UsageTap implements ResponseTap {
  private readonly passage: Passage;
  private readonly price: Price | null;
  /** Whether an answer that does not tell its tokens is estimated. */
  private readonly isGenerated: boolean;
  private readonly scanner = new UsageScanner();
  private isOk = false;
  private isStream = false;
  private isReadable = true;
  private isOver = false;
  private events = 0;
  private bytes = 0;
  /** The scanner waits for more of what may be a usage. */
  private isWaiting = false;
  /** The last piece, if it was whole events that tell no usage. */
  private plain: Uint8Array | null = null;

  constructor(passage: Passage, price: Price | null, isGenerated: boolean) {
    this.passage = passage;
    this.price = price;
    this.isGenerated = isGenerated;
  }

  onHead(status: number, headers: Parameters<ResponseTap['onHead']>[1]): void {
    this.isOk = status >= 200 && status < 300;
    const type = headers['content-type'];
    this.isStream = typeof type === 'string' && type.startsWith('text/event-stream');
    const encoding = headers['content-encoding'];
    this.isReadable = encoding === undefined || encoding === 'identity';
  }

  onData(chunk: Uint8Array): void {
    if (!this.isOk) return;
    this.bytes += chunk.length;
    if (!this.isReadable) return;
    if (this.isStream) this.events += countEvents(chunk);
    // Most pieces of a stream are this: they need no memory of the scanner's, which is cold by then.
    if (!this.isWaiting && endsEvent(chunk) && toldUsage(chunk) < 0) {
      this.plain = chunk;
      return;
    }
    this.plain = null;
    this.scanner.push(chunk);
    this.isWaiting = this.scanner.isWaiting;
  }

  /**
   * Whether the piece is the one that was seen last, whole events, and tells no usage: others need not look again. Told
   * once, since the next piece may come in the same view.
   */
  takePlain(chunk: Uint8Array): boolean {
    const isPlain = this.plain === chunk;
    this.plain = null;
    return isPlain;
  }

  /** Also called when the request is over, since a client that leaves is seen there before its server is told. */
  onEnd(): void {
    if (!this.isOk || this.isOver) return;
    this.isOver = true;
    this.plain = null;
    const { passage, price } = this;
    const told = this.scanner.usage();
    const usage = told ?? (this.isGenerated ? this.estimate() : nothing);
    passage.usage = usage;
    passage.isUsageEstimated = told === null && this.isGenerated;
    passage.costMicros = price === null ? 0 : costOf(price, usage);
    if (!passage.exchange.isStarted && usage !== nothing) this.addHeaders(usage);
  }

  private addHeaders(usage: Usage): void {
    const { passage } = this;
    passage.addHeader('x-muster-input-tokens', String(usage.inputTokens));
    passage.addHeader('x-muster-output-tokens', String(usage.outputTokens));
    if (this.price !== null) passage.addHeader('x-muster-cost', String(passage.costMicros));
  }

  /** Events of a stream are tokens for most servers; four bytes of anything else are about one. */
  private estimate(): Usage {
    const { passage } = this;
    return {
      inputTokens: estimatedInput(passage.body?.length ?? 0),
      cachedInputTokens: 0,
      outputTokens: this.isStream && this.isReadable ? this.events : Math.ceil(this.bytes / 4),
    };
  }
}

const nothing: Usage = Object.freeze({ inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 });
