import { Context } from '@temporalio/activity';
import { z } from 'zod';
import { BatchLines, BatchPlan } from '../../domain/batch/batch.schema.ts';
import type { BatchResult } from '../../domain/batch/batch.schema.ts';
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
}

const Nothing = z.unknown();
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

async function runLines(deps: BatchActivityDeps, batchId: string, from: number, to: number): Promise<void> {
  const { api } = deps;
  const context = Context.current();
  const beating = setInterval(() => {
    context.heartbeat();
  }, heartbeatMs);
  try {
    for (;;) {
      const todo = await api.call('GET', `${path(batchId, 'lines')}?from=${from}&to=${to}`, BatchLines);
      if (todo.lines.length === 0) return;
      await askAll(deps, batchId, todo);
    }
  } finally {
    clearInterval(beating);
  }
}

async function askAll(deps: BatchActivityDeps, batchId: string, todo: BatchLines): Promise<void> {
  const { api, askLine } = deps;
  const { cancellationSignal } = Context.current();
  const waiting = [...todo.lines];
  const work = async (): Promise<void> => {
    for (let line = waiting.shift(); line !== undefined; line = waiting.shift()) {
      const result: BatchResult = await askLine(
        { batchId, endpoint: todo.endpoint, caller: todo.caller, ...line },
        cancellationSignal,
      );
      await api.call('POST', path(batchId, 'results'), Nothing, { results: [result] });
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: deps.concurrency }, work));
  cancellationSignal.throwIfAborted();
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
}

function path(batchId: string, what: string): string {
  return `/internal/batches/${encodeURIComponent(batchId)}/${what}`;
}
