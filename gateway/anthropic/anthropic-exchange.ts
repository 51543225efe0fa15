import { anthropicErrorBody } from '../../domain/anthropic/errors.ts';
import { toMessage } from '../../domain/anthropic/response.ts';
import type { AnthropicEvent } from '../../domain/anthropic/blocks.ts';
import { MessageStream } from '../../domain/anthropic/stream.ts';
import { SseParser } from '../../domain/sse/sse.ts';
import { isEventStream, without } from '../flat-headers.ts';
import type { Exchange } from '../front/exchange.ts';
import { WrappedExchange } from '../front/wrapped-exchange.ts';
import type { GatewayLimits } from '../limits.ts';

/**
 * Takes a chat completion from the gateway and gives its client Anthropic's message: whole answers are kept until
 * their end, streams are translated event by event. Errors, the server's and the gateway's own, become Anthropic's.
 */
export class AnthropicExchange extends WrappedExchange {
  private readonly model: string;
  private readonly isStream: boolean;
  private readonly bytesMax: number;
  private head: { status: number; headers: string[] } | null = null;
  private parts: Buffer[] = [];
  private held = 0;
  private isTooLarge = false;
  private stream: { parser: SseParser; message: MessageStream } | null = null;
  private isFailed = false;
  private isOver = false;

  constructor(inner: Exchange, model: string, isStream: boolean, limits: GatewayLimits) {
    super(inner);
    this.model = model;
    this.isStream = isStream;
    this.bytesMax = limits.translatedAnswerBytesMax;
  }

  override get isStarted(): boolean {
    return this.head !== null;
  }

  override get status(): number {
    return this.head?.status ?? 0;
  }

  override start(status: number, headers: string[]): void {
    this.head = { status, headers };
    if (status !== 200 || !this.isStream || !isEventStream(headers)) return;
    this.stream = {
      parser: new SseParser(this.bytesMax),
      message: new MessageStream(this.model, this.bytesMax),
    };
    this.inner.start(status, without(headers, ownHeaders));
  }

  override write(chunk: Uint8Array | string): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    if (this.stream !== null) return this.writeEvents(bytes);
    this.held += bytes.length;
    if (this.held > this.bytesMax) this.isTooLarge = true;
    else this.parts.push(Buffer.from(bytes));
    return true;
  }

  override end(): void {
    this.isOver = true;
    if (this.stream !== null) {
      this.endStream();
      return;
    }
    const { head } = this;
    const { status, body } = this.whole(head?.status ?? 502, Buffer.concat(this.parts));
    this.head = { status, headers: head?.headers ?? [] };
    const bytes = Buffer.from(body);
    const headers = without(head?.headers ?? [], [...ownHeaders, 'content-type']);
    headers.push('content-type', 'application/json', 'content-length', String(bytes.length));
    this.inner.start(status, headers);
    this.inner.write(bytes);
    this.inner.end();
  }

  /** Of an answer that was kept until now nothing has left: an error says more than a broken connection. */
  override cut(): void {
    if (this.stream !== null || this.inner.isStarted || this.isOver) {
      this.inner.cut();
      return;
    }
    this.head = { status: 502, headers: this.head?.headers ?? [] };
    this.parts = [Buffer.from(anthropicErrorBody(502, 'The server broke off its answer.'))];
    this.end();
  }

  private whole(status: number, body: Buffer): { status: number; body: string } {
    if (this.isTooLarge) {
      const message = `The server's answer is larger than the ${this.bytesMax} bytes that are translated.`;
      return { status: 502, body: anthropicErrorBody(502, message) };
    }
    const text = body.toString('utf8');
    if (status !== 200) return { status, body: errorBody(status, text) };
    try {
      return {
        status,
        body: JSON.stringify(toMessage(JSON.parse(text) as Record<string, unknown>, this.model)),
      };
    } catch {
      return { status: 502, body: anthropicErrorBody(502, 'The server sent what is no chat completion.') };
    }
  }

  private writeEvents(bytes: Uint8Array): boolean {
    const { stream } = this;
    if (stream === null || this.isFailed) return true;
    try {
      let text = '';
      for (const { data } of stream.parser.push(bytes)) {
        if (data === '[DONE]') continue; // the end of the response says it
        const chunk = JSON.parse(data) as Record<string, unknown>;
        if (chunk['error'] !== undefined && chunk['error'] !== null)
          return this.fail(errorMessage(chunk) ?? 'The server failed.');
        text += stream.message.push(chunk).map(frame).join('');
      }
      return text === '' ? true : this.inner.write(text);
    } catch {
      return this.fail('The server sent what is no stream of a chat completion.');
    }
  }

  private endStream(): void {
    if (!this.isFailed) {
      const events = this.stream?.message.end() ?? null;
      if (events === null) this.fail('The server ended the stream before its answer was whole.');
      else this.inner.write(events.map(frame).join(''));
    }
    this.inner.end();
  }

  private fail(message: string): boolean {
    this.isFailed = true;
    return this.inner.write(`event: error\ndata: ${anthropicErrorBody(500, message)}\n\n`);
  }
}

/** What belongs to the chat completion's own bytes. */
const ownHeaders: readonly string[] = ['content-length', 'content-encoding', 'etag'];

function frame(event: AnthropicEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

function errorBody(status: number, text: string): string {
  try {
    const read = JSON.parse(text) as Record<string, unknown>;
    if (read['type'] === 'error') return text; // the gateway's own refusal
    return anthropicErrorBody(status, errorMessage(read) ?? text.slice(0, 1000));
  } catch {
    return anthropicErrorBody(status, text.slice(0, 1000));
  }
}

/** OpenAI's, or vLLM's older flat form. */
function errorMessage(body: Record<string, unknown>): string | null {
  const { error, message } = body;
  if (typeof error === 'string') return error;
  if (typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string')
    return error.message;
  return typeof message === 'string' ? message : null;
}
