import { Blocks } from './blocks.ts';
import type { AnthropicEvent, CallPiece } from './blocks.ts';
import { asList, asRecord, messageId, reasoningOf, stopOf, usageOf } from './response.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * The chunks of an OpenAI stream as Anthropic's events: message_start, then each block (thinking, text, tool use) with
 * start, deltas and stop, then message_delta with the reason and the usage, and message_stop. `end` is refused before
 * the server said why it stopped: a cut stream must not look whole.
 */
export class MessageStream {
  private readonly model: string;
  private isStarted = false;
  private readonly blocks: Blocks;
  private stop: { stop_reason: string | null; stop_sequence: string | null } | null = null;
  private usage: unknown = undefined;
  private isOver = false;

  /**
   * @param model as the caller named it
   * @param heldMax characters of blocks that must wait for another to end
   */
  constructor(model: string, heldMax = 1024 * 1024) {
    this.model = model;
    this.blocks = new Blocks(heldMax);
  }

  /** @throws Error when the chunk is none of a chat completion, or its calls of tools cannot be told one by one */
  push(chunk: Fields): AnthropicEvent[] {
    const events: AnthropicEvent[] = [];
    if (!this.isStarted) events.push(this.start(chunk));
    if (chunk['usage'] !== undefined && chunk['usage'] !== null) this.usage = chunk['usage'];
    for (const each of asList(chunk['choices'] ?? [])) {
      const choice = asRecord(each);
      if ((choice['index'] ?? 0) !== 0) continue; // there is one message in an answer
      this.delta(asRecord(choice['delta'] ?? {}), events);
      if (typeof choice['finish_reason'] === 'string') this.stop = stopOf(choice, this.blocks.hasCalls);
    }
    return events;
  }

  /** What follows the server's [DONE]. @returns null when the stream had not come to its end */
  end(): AnthropicEvent[] | null {
    if (this.stop === null || this.isOver) return null;
    this.isOver = true;
    const events: AnthropicEvent[] = [];
    this.blocks.end(events);
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
    if (thinking !== '') this.blocks.text('thinking', thinking, events);
    const text = delta['content'] ?? delta['refusal'];
    if (typeof text === 'string' && text !== '') this.blocks.text('text', text, events);
    for (const each of asList(delta['tool_calls'] ?? [])) this.blocks.call(pieceOf(asRecord(each)), events);
  }
}

function pieceOf({ index, id, function: called }: Fields): CallPiece {
  const { name, arguments: text } = asRecord(called ?? {});
  return {
    index: typeof index === 'number' ? index : 0,
    id: typeof id === 'string' && id !== '' ? id : null,
    name: typeof name === 'string' ? name : '',
    text: typeof text === 'string' ? text : '',
  };
}
