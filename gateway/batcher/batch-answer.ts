import type { WireMessage } from '../../domain/batcher/batch-form.ts';
import type { InternalAnswer } from '../front/internal-exchange.ts';
import type { Passage } from '../passage.ts';
import type { Batch, Member } from './batch.ts';

/** What a server says to all of a batch; of the rest (cookies, traces) nobody knows whose it is. */
const forAll = new Set(['cache-control', 'content-encoding', 'date', 'retry-after', 'server', 'vary']);

/** Gives a member its own answer, as if it had been asked for alone: the member's taps see it, too. */
export function deliver(
  batch: Batch<Passage>,
  member: Member<Passage>,
  answer: InternalAnswer,
  own: WireMessage,
  nowMs: number,
): void {
  const { passage } = member;
  const { fork } = batch;
  passage.firstByteMs = nowMs - passage.startedMs;
  if (fork !== null) {
    passage.service = fork.service;
    passage.candidate = fork.candidate;
    passage.tries = fork.tries;
    passage.refused = fork.refused;
  }
  const head: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers))
    if (forAll.has(name) || name.startsWith('x-muster-')) head[name] = value;
  const type = answer.headers['content-type'];
  if (type !== undefined) head['content-type'] = type;
  head['content-length'] = String(own.body.length);
  if (own.headLength !== null) head['inference-header-content-length'] = String(own.headLength);
  const { tap } = passage;
  passage.tap = null;
  tap?.onHead(answer.status, head);
  tap?.onData(own.body);
  tap?.onEnd(true);
  send(passage, answer.status, head, batch, own.body);
}

function send(
  passage: Passage,
  status: number,
  head: Readonly<Record<string, string>>,
  batch: Batch<Passage>,
  body: Uint8Array,
): void {
  const headers = Object.entries(head).flat();
  headers.push('x-request-id', passage.requestId, 'x-muster-batch-size', String(batch.rows));
  if (passage.responseHeaders !== null) headers.push(...passage.responseHeaders);
  passage.exchange.start(status, headers);
  passage.exchange.write(body);
  passage.exchange.end();
}
