import { asList, asRecord, messageId, reasoningOf, stopOf, usageOf } from './response.ts';

/**
 * The chunks of an OpenAI stream as Anthropic's events: message_start, then each block (thinking, text, tool use) with
 * start, deltas and stop, then message_delta with the reason and the usage, and message_stop. Blocks follow each other:
 * a new kind of content ends the block before. `end` is refused before the server said why it stopped: a cut stream
 * must not look whole.
 */
export interface AnthropicEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

interface Block {
  readonly index: number;
  readonly kind: 'thinking' | 'text' | 'tool_use';
  /** OpenAI's index of the tool call; -1 for the others. */
  readonly call: number;
}

export class MessageStream {
  private readonly model: string;
  private isStarted = false;
  private block: Block | null = null;
  private blocks = 0;
  private stop: { stop_reason: string | null; stop_sequence: string | null } | null = null;
  private usage: unknown = undefined;
  private isOver = false;
  private hasTools = false;

  /** @param model as the caller named it */
  constructor(model: string) {
    this.model = model;
  }

  /** @throws Error when the chunk is none of a chat completion */
  push(chunk: Fields): AnthropicEvent[] {
    const events: AnthropicEvent[] = [];
    if (!this.isStarted) events.push(this.start(chunk));
    if (chunk['usage'] !== undefined && chunk['usage'] !== null) this.usage = chunk['usage'];
    for (const each of asList(chunk['choices'] ?? [])) {
      const choice = asRecord(each);
      if ((choice['index'] ?? 0) !== 0) continue; // there is one message in an answer
      this.delta(asRecord(choice['delta'] ?? {}), events);
      if (typeof choice['finish_reason'] === 'string') this.stop = stopOf(choice, this.hasTools);
    }
    return events;
  }

  /** What follows the server's [DONE]. @returns null when the stream had not come to its end */
  end(): AnthropicEvent[] | null {
    if (this.stop === null || this.isOver) return null;
    this.isOver = true;
    const events: AnthropicEvent[] = [];
    this.close(events);
    events.push(
      { type: 'message_delta', delta: this.stop, usage: usageOf(this.usage) },
      { type: 'message_stop' },
    );
    return events;
  }

  private start(chunk: Fields): AnthropicEvent {
    this.isStarted = true;
    const usage = usageOf(chunk['usage']);
    const message = {
      id: messageId(chunk['id']),
      type: 'message',
      role: 'assistant',
      model: this.model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage,
    };
    return { type: 'message_start', message };
  }

  private delta(delta: Fields, events: AnthropicEvent[]): void {
    const thinking = reasoningOf(delta);
    if (thinking !== '') {
      const index = this.open('thinking', -1, { type: 'thinking', thinking: '', signature: '' }, events);
      events.push({ type: 'content_block_delta', index, delta: { type: 'thinking_delta', thinking } });
    }
    const text = delta['content'] ?? delta['refusal'];
    if (typeof text === 'string' && text !== '') {
      const index = this.open('text', -1, { type: 'text', text: '' }, events);
      events.push({ type: 'content_block_delta', index, delta: { type: 'text_delta', text } });
    }
    for (const each of asList(delta['tool_calls'] ?? [])) this.call(asRecord(each), events);
  }

  private call(call: Fields, events: AnthropicEvent[]): void {
    this.hasTools = true;
    const { name, arguments: part } = asRecord(call['function'] ?? {});
    const at = typeof call['index'] === 'number' ? call['index'] : 0;
    const start = { type: 'tool_use', id: call['id'] ?? `toolu_${at}`, name: name ?? '', input: {} };
    const index = this.open('tool_use', at, start, events);
    if (typeof part !== 'string' || part === '') return;
    events.push({
      type: 'content_block_delta',
      index,
      delta: { type: 'input_json_delta', partial_json: part },
    });
  }

  /** @returns the index of the block that is open now */
  private open(kind: Block['kind'], call: number, start: Fields, events: AnthropicEvent[]): number {
    if (this.block?.kind === kind && this.block.call === call) return this.block.index;
    this.close(events);
    this.block = { index: this.blocks, kind, call };
    this.blocks += 1;
    events.push({ type: 'content_block_start', index: this.block.index, content_block: start });
    return this.block.index;
  }

  private close(events: AnthropicEvent[]): void {
    if (this.block === null) return;
    events.push({ type: 'content_block_stop', index: this.block.index });
    this.block = null;
  }
}
