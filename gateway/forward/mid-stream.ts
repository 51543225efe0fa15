import {
  answerKind,
  continuationOf,
  readAnswer,
  requestObstacle,
} from '../../domain/resilience/continuation.ts';
import type { AnswerKind, AnswerSoFar, ChatContinuation } from '../../domain/resilience/continuation.ts';
import { ContinuedChunks } from '../../domain/resilience/continued-chunks.ts';
import type { ResilienceSettings } from '../../domain/resilience/settings.ts';
import { choicesAsked } from '../../domain/resilience/stream-end.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { Passage } from '../passage.ts';
import type { ForwardPlan } from './forward-plan.ts';
import type { Guard } from './guards.ts';
import { KeptBytes } from './kept-bytes.ts';

/** Bytes of a stream that are kept so that it can be gone on with; a longer one ends in an error when it is cut. */
const keptBytesMax = 4 * 1024 * 1024;

/**
 * Remembers what a stream has told its client, and makes of it the request for the rest when its server is lost.
 * While all is well it only copies bytes: they are understood when they are needed.
 */
export class MidStream {
  private readonly kind: AnswerKind;
  private readonly chat: ChatContinuation;
  private readonly kept = new KeptBytes(keptBytesMax);
  private rewriter: ContinuedChunks | null = null;
  /** Continuations asked for. */
  count = 0;

  constructor(kind: AnswerKind, chat: ChatContinuation) {
    this.kind = kind;
    this.chat = chat;
  }

  /**
   * @param events whole ones, of whichever server answers now; they hold for this call alone
   * @returns what the client gets, for as long; null: nothing
   */
  pass(events: Uint8Array): Uint8Array | null {
    const { rewriter } = this;
    if (rewriter === null) {
      this.kept.add(events);
      return events;
    }
    const text = rewriter.rewrite(Buffer.from(events.buffer, events.byteOffset, events.length).toString());
    if (text === '') return null;
    const bytes = Buffer.from(text);
    this.kept.add(bytes);
    return bytes;
  }

  /** A server that goes on with an answer may say in its stream that it cannot. */
  get hasFailed(): boolean {
    return this.rewriter !== null && this.rewriter.error !== null;
  }

  /** What the client knows by now. */
  answer(): AnswerSoFar {
    return readAnswer(this.kind, this.kept.text());
  }

  /**
   * @param answer what the client knows
   * @returns the request for the rest, or why there can be none
   */
  next(
    passage: Passage,
    plan: ForwardPlan,
    answer: AnswerSoFar,
  ): ForwardPlan | { readonly obstacle: string } {
    const { fields } = passage;
    if (fields === null || plan.body === null) return { obstacle: 'it has no body' };
    if (this.kept.isTooMuch) return { obstacle: 'it is too long' };
    const obstacle = answer.obstacle ?? requestObstacle(this.kind, fields, this.chat);
    if (obstacle !== null) return { obstacle };
    const continuation = continuationOf(this.kind, { body: plan.body, fields }, answer, this.chat);
    this.rewriter = new ContinuedChunks(this.kind, answer, continuation);
    this.count += 1;
    return { ...plan, body: continuation.body };
  }
}

/** Null when the policy, or the kind of stream, wants no continuation. */
export function midStreamOf(
  settings: ResilienceSettings['midStream'],
  passage: Passage,
  headers: HeaderFields,
): MidStream | null {
  if (settings.mode === 'error') return null;
  const kind = answerKind(passage.operation.head);
  return kind === null ? null : new MidStream(kind, chatOf(settings.chat, headers['server']));
}

function chatOf(
  chat: ResilienceSettings['midStream']['chat'],
  server: string | string[] | undefined,
): ChatContinuation {
  if (chat !== 'detect') return chat;
  return server === 'llama.cpp' ? 'llama.cpp' : 'never';
}

/** @returns the request for the rest, taken out of the budget for repetitions; or why there is none */
export function planRest(
  passage: Passage,
  plan: ForwardPlan,
  answer: AnswerSoFar,
  by: { readonly midStream: MidStream; readonly guard: Guard; readonly nowMs: number },
): ForwardPlan | { readonly obstacle: string } {
  const { midStream, guard } = by;
  if (midStream.count >= guard.settings.midStream.continuationsMax)
    return { obstacle: 'it was gone on with as often as the policy allows' };
  const next = midStream.next(passage, plan, answer);
  if ('obstacle' in next || guard.retries.spend(by.nowMs)) return next;
  return { obstacle: 'the retry budget is spent' };
}

/** Nothing of an answer is missing but its last word. */
export function isSaid({ fields }: Passage, answer: AnswerSoFar): boolean {
  if (answer.obstacle !== null || answer.finish === null || fields === null) return false;
  return choicesAsked(fields) === 1 && (answer.hasUsage || !wantsUsage(fields));
}

/** The caller asked for the stream's usage. */
function wantsUsage(fields: Readonly<Record<string, unknown>>): boolean {
  const options = fields['stream_options'];
  return (
    typeof options === 'object' &&
    options !== null &&
    'include_usage' in options &&
    options.include_usage === true
  );
}
