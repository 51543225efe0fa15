import { Context } from '@temporalio/activity';
import { z } from 'zod';
import { BatchLines, BatchPlan } from '../../domain/batch/batch.schema.ts';
import type { BatchActivities } from '../../domain/batch/messages.ts';
import type { ControlApi } from '../control/api.ts';
import { withFailures } from '../control/failures.ts';
import type { AskLine } from './ask-line.ts';

/**
 * A batch's work: files and progress are the control API's, answers are the gateway's. A step asks only lines that
 * have no result yet and hands each result over as it comes, so a worker that is lost repeats at most the lines that
 * it had under way.
 */
export interface BatchActivityDeps {
  readonly api: Pick<ControlApi, 'call'>;
  readonly askLine: AskLine;
  /** Lines of one step under way at once. */
  readonly concurrency: number;
  readonly heartbeatMs?: number;
}

const Nothing = z.unknown();
/** A fifth of what the workflow waits for one. */
const heartbeatMs = 2_000;

export function batchActivities(deps: BatchActivityDeps): BatchActivities {
  const { api } = deps;
  return withFailures<BatchActivities>({
    batchOpen: ({ batchId }) => api.call('POST', path(batchId, 'open'), BatchPlan, {}),
    batchRun: ({ batchId, from, to }) => runLines(deps, batchId, from, to),
    async batchClose({ batchId, outcome }) {
      await api.call('POST', path(batchId, 'close'), Nothing, { outcome });
    },
  });
}

/** What the Temporal UI shows of a step under way, beside its heartbeat. */
export interface StepProgress {
  readonly answered: number;
  /** Lines that wait for another try. */
  readonly waiting: number;
  /** What the last of them waits for: `503 model_not_ready`. */
  readonly because: string | null;
}

class Progress {
  private answered = 0;
  private because: string | null = null;
  private readonly waiting = new Set<number>();

  waits(line: number, why: string): void {
    this.waiting.add(line);
    this.because = why;
  }

  ended(line: number): void {
    this.answered += 1;
    this.waiting.delete(line);
    if (this.waiting.size === 0) this.because = null;
  }

  get now(): StepProgress {
    return { answered: this.answered, waiting: this.waiting.size, because: this.because };
  }
}

async function runLines(deps: BatchActivityDeps, batchId: string, from: number, to: number): Promise<void> {
  const { api } = deps;
  const context = Context.current();
  const progress = new Progress();
  const beating = setInterval(() => {
    context.heartbeat(progress.now);
  }, deps.heartbeatMs ?? heartbeatMs);
  try {
    for (;;) {
      const todo = await api.call('GET', `${path(batchId, 'lines')}?from=${from}&to=${to}`, BatchLines);
      if (todo.lines.length === 0) return;
      await askAll(deps, batchId, todo, progress);
    }
  } finally {
    clearInterval(beating);
  }
}

async function askAll(
  deps: BatchActivityDeps,
  batchId: string,
  { lines, endpoint, caller }: BatchLines,
  progress: Progress,
): Promise<void> {
  const { api, askLine } = deps;
  const { cancellationSignal } = Context.current();
  const left = [...lines];
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const { line } = next;
      const result = await askLine({ batchId, endpoint, caller, ...next }, cancellationSignal, (why) => {
        progress.waits(line, why);
      });
      await api.call('POST', path(batchId, 'results'), Nothing, { results: [result] });
      progress.ended(line);
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: deps.concurrency }, work));
  cancellationSignal.throwIfAborted();
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
}

function path(batchId: string, what: string): string {
  return `/internal/batches/${encodeURIComponent(batchId)}/${what}`;
}
