import { WholeObject } from './whole-object.ts';

export interface AnthropicEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A piece of a tool's call, as OpenAI streams it. */
export interface CallPiece {
  readonly index: number;
  readonly id: string | null;
  readonly name: string;
  /** Of its arguments. */
  readonly text: string;
}

interface Block {
  readonly start: Readonly<Record<string, unknown>> & { readonly type: 'thinking' | 'text' | 'tool_use' };
  /** Anthropic's; -1 before its start is written. */
  index: number;
  /** Not written yet. */
  readonly held: string[];
  /** Nothing that counts comes after it: it may end as soon as another block waits. */
  isWhole: boolean;
  isOver: boolean;
}

interface CallBlock extends Block {
  readonly id: string | null;
  readonly input: WholeObject;
}

/**
 * The blocks of a streamed message, one after the other, as Anthropic's clients need them, from pieces that OpenAI lets
 * come by turns: calls of tools are told apart by their index, and by their id where they share one. The first block is
 * written as it comes; others are held back until it is whole. A call is whole once its arguments are a JSON object.
 */
export class Blocks {
  private readonly heldMax: number;
  /** The first is being written. */
  private readonly queue: Block[] = [];
  /** The latest of each index. */
  private readonly calls = new Map<number, CallBlock>();
  private written = 0;
  /** About the memory of what is held back, in characters. */
  private held = 0;

  constructor(heldMax: number) {
    this.heldMax = heldMax;
  }

  get hasCalls(): boolean {
    return this.calls.size > 0;
  }

  /** @throws Error when too much is held back */
  text(type: 'thinking' | 'text', text: string, events: AnthropicEvent[]): void {
    let block = this.queue.at(-1);
    if (block?.start.type !== type) {
      const start = type === 'text' ? { type, text: '' } : { type, thinking: '', signature: '' };
      block = this.add({ start, index: -1, held: [], isWhole: true, isOver: false });
    }
    this.hold(block, text);
    this.write(events);
  }

  /** @throws Error when too much is held back, or the call was given to the client before */
  call(piece: CallPiece, events: AnthropicEvent[]): void {
    const { index, id, text } = piece;
    let block = this.calls.get(index);
    if (block === undefined || isOther(block, piece)) {
      if (block !== undefined) block.isWhole = true;
      const start = { type: 'tool_use' as const, id: id ?? `toolu_${index}`, name: piece.name, input: {} };
      const input = new WholeObject();
      block = this.add({ start, id, input, index: -1, held: [], isWhole: false, isOver: false });
      this.calls.set(index, block);
    }
    if (block.isOver && text.trim() !== '') throw new Error('a call of a tool goes on after it was whole');
    if (text !== '' && !block.isOver) {
      this.hold(block, text);
      block.input.push(text);
      if (block.input.isWhole) block.isWhole = true;
    }
    this.write(events);
  }

  /** Nothing more comes. */
  end(events: AnthropicEvent[]): void {
    for (const block of this.queue) block.isWhole = true;
    this.write(events);
    const last = this.queue.pop();
    if (last !== undefined) stop(last, events);
  }

  private add<B extends Block>(block: B): B {
    this.queue.push(block);
    this.held += overhead;
    return block;
  }

  private hold(block: Block, text: string): void {
    block.held.push(text);
    this.held += text.length;
  }

  /** All that can be: the last block stays open. */
  private write(events: AnthropicEvent[]): void {
    for (let block = this.queue[0]; block !== undefined; block = this.queue[0]) {
      this.writePart(block, events);
      if (this.queue.length === 1 || !block.isWhole) break;
      stop(block, events);
      this.queue.shift();
    }
    if (this.held > this.heldMax) throw new Error(`more than ${this.heldMax} characters are held back`);
  }

  private writePart(block: Block, events: AnthropicEvent[]): void {
    if (block.index < 0) {
      block.index = this.written;
      this.written += 1;
      this.held -= overhead;
      events.push({ type: 'content_block_start', index: block.index, content_block: block.start });
    }
    if (block.held.length === 0) return;
    const text = block.held.splice(0, Infinity).join('');
    this.held -= text.length;
    events.push({ type: 'content_block_delta', index: block.index, delta: deltaOf(block.start.type, text) });
  }
}

/** Of a block that is held back, beside its text: ids, names, objects. */
const overhead = 200;

/** Servers are known that give each piece of one call an id of its own; only the first of a call has a name. */
function isOther(block: CallBlock, { id, name }: CallPiece): boolean {
  return id !== null && block.id !== null && id !== block.id && name !== '';
}

function deltaOf(type: Block['start']['type'], text: string): Readonly<Record<string, string>> {
  if (type === 'thinking') return { type: 'thinking_delta', thinking: text };
  return type === 'text' ? { type: 'text_delta', text } : { type: 'input_json_delta', partial_json: text };
}

function stop(block: Block, events: AnthropicEvent[]): void {
  block.isOver = true;
  events.push({ type: 'content_block_stop', index: block.index });
}
