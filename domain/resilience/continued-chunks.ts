import { firstChoice, isObject, parseObject, textOf } from './continuation.ts';
import type { AnswerKind, AnswerSoFar, Continuation } from './continuation.ts';
import { eventData } from '../sse/sse.ts';

/**
 * Turns the chunks of a continuation into those that the first server would have sent: its identity, no second role,
 * no text twice, and usage as if there had been one request: tokens that this server took for its prompt, because
 * they are the answer so far, are counted as the answer's. Their sum is what it was.
 */
export class ContinuedChunks {
  private readonly kind: AnswerKind;
  private readonly before: AnswerSoFar;
  private readonly continuation: Continuation;
  private owed: string;
  isDone = false;
  /** The server's own error; the continuation has failed then. */
  error: unknown = null;

  constructor(kind: AnswerKind, before: AnswerSoFar, continuation: Continuation) {
    this.kind = kind;
    this.before = before;
    this.continuation = continuation;
    this.owed = continuation.owed;
  }

  /** @param events whole ones @returns events for the client; '' when there is nothing to say */
  rewrite(events: string): string {
    let out = '';
    for (const data of eventData(events)) {
      if (this.isDone || this.error !== null) break;
      if (data === '[DONE]') {
        this.isDone = true;
        out += 'data: [DONE]\n\n';
        continue;
      }
      const chunk = parseObject(data);
      if (chunk === null || chunk['error'] !== undefined) {
        this.error = chunk?.['error'] ?? data;
        break;
      }
      if (this.adopt(chunk)) out += `data: ${JSON.stringify(chunk)}\n\n`;
    }
    return out;
  }

  /** @returns false when the client knows already what the chunk says */
  private adopt(chunk: Record<string, unknown>): boolean {
    Object.assign(chunk, this.before.identity);
    const hasUsage = isObject(chunk['usage']);
    if (isObject(chunk['usage'])) chunk['usage'] = this.asOne(chunk['usage']);
    const choice = firstChoice(chunk);
    if (choice === null) return hasUsage;
    if (this.before.finish !== null) {
      chunk['choices'] = []; // it has ended already, for the client
      return hasUsage;
    }
    const text = this.swallow(textOf(this.kind, choice));
    const isFinish = typeof choice['finish_reason'] === 'string';
    if (isFinish && this.continuation.isFull) choice['finish_reason'] = 'length';
    if (this.kind === 'text') {
      choice['text'] = text;
      return text !== '' || isFinish || hasUsage;
    }
    const delta = isObject(choice['delta']) ? choice['delta'] : {};
    if (this.before.hasRole) delete delta['role'];
    if (text !== '') delta['content'] = text;
    else delete delta['content'];
    choice['delta'] = delta;
    return Object.keys(delta).length > 0 || isFinish || hasUsage;
  }

  private swallow(text: string): string {
    if (this.continuation.isFull) return '';
    if (this.owed === '' || text === '') return text;
    let same = 0;
    while (same < text.length && same < this.owed.length && text[same] === this.owed[same]) same += 1;
    // Other than expected: the client keeps its white space, and gets the rest as it comes.
    this.owed = same === text.length ? this.owed.slice(same) : '';
    return text.slice(same);
  }

  private asOne(usage: Record<string, unknown>): Record<string, unknown> {
    const { prompt_tokens: prompt, completion_tokens: completion } = usage;
    if (typeof prompt !== 'number' || typeof completion !== 'number') return usage;
    const moved = Math.min(this.continuation.given, prompt);
    // What the server knew of the answer so far counts for no part of the prompt.
    capCached(usage['prompt_tokens_details'], prompt - moved);
    if (!this.continuation.isFull)
      return { ...usage, prompt_tokens: prompt - moved, completion_tokens: completion + moved };
    const answered = this.before.pieces;
    const asked = prompt - moved;
    return { ...usage, prompt_tokens: asked, completion_tokens: answered, total_tokens: asked + answered };
  }
}

function capCached(details: unknown, most: number): void {
  if (!isObject(details) || typeof details['cached_tokens'] !== 'number') return;
  details['cached_tokens'] = Math.min(details['cached_tokens'], most);
}
