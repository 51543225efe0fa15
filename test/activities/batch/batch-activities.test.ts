import { CancelledFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AskLine } from '../../../activities/batch/ask-line.ts';
import { batchActivities } from '../../../activities/batch/batch-activities.ts';
import type { StepProgress } from '../../../activities/batch/batch-activities.ts';
import type { BatchResult } from '../../../domain/batch/batch.schema.ts';

/** The control API's side of one batch of ten lines. */
class FakeDesk {
  readonly results = new Map<number, BatchResult>();
  asked: string[] = [];

  call<T>(method: string, path: string, schema: { parse(value: unknown): T }, body?: unknown): Promise<T> {
    this.asked.push(`${method} ${path}`);
    if (method === 'POST')
      for (const result of (body as { results?: BatchResult[] }).results ?? [])
        this.results.set(result.line, result);
    const lines = Array.from({ length: 10 }, (_, line) => ({ line, customId: `c${line}`, body: '{}' }));
    const caller = { id: 'k', kind: 'key', tenant: 'acme', tier: 'standard', namespace: null, scopes: [] };
    return Promise.resolve(
      schema.parse({
        endpoint: '/v1/embeddings',
        caller: { ...caller, models: [] },
        lines: lines.filter(({ line }) => !this.results.has(line)).slice(0, 4),
      }),
    );
  }
}

describe('a step of a batch', () => {
  let desk: FakeDesk;
  let environment: MockActivityEnvironment;
  let beats: StepProgress[];
  let asked: number[];
  beforeEach(() => {
    desk = new FakeDesk();
    environment = new MockActivityEnvironment();
    [beats, asked] = [[], []];
    environment.on('heartbeat', (details) => beats.push(details as StepProgress));
  });
  afterEach(() => {
    environment.removeAllListeners();
  });
  const answer: AskLine = ({ line }) => {
    asked.push(line);
    return Promise.resolve({ line, ok: true, text: '{}' });
  };
  const run = (askLine: AskLine): Promise<void> => {
    const { batchRun } = batchActivities({ api: desk, askLine, concurrency: 3, heartbeatMs: 5 });
    return environment.run(batchRun, { batchId: 'batch_1', from: 0, to: 10 });
  };

  test('asks every line once, however the control API hands them out', async () => {
    await run(answer);
    expect(asked.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(desk.results.size).toBe(10);
    expect(desk.asked[0]).toBe('GET /internal/batches/batch_1/lines?from=0&to=10');
  });

  test('says while it runs how many lines wait, and for what', async () => {
    let release: () => void = () => undefined;
    const free = new Promise<void>((resolve) => (release = resolve));
    const running = run(async (line, signal, onWait) => {
      if (line.line === 1) {
        onWait('503 model_not_ready');
        await free;
      }
      return answer(line, signal, onWait);
    });
    const until = async (isIt: (progress: StepProgress) => boolean) => {
      while (!beats.some(isIt)) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await until(({ answered, waiting }) => answered === 3 && waiting === 1);
    expect(beats.at(-1)).toEqual({ answered: 3, waiting: 1, because: '503 model_not_ready' });
    release();
    await running;
    expect(desk.results.size).toBe(10);
  });

  test('keeps what was answered when another line fails, and fails itself', async () => {
    const gone = new Error('the gateway is gone');
    await expect(
      run((line, ...more) => (line.line === 2 ? Promise.reject(gone) : answer(line, ...more))),
    ).rejects.toThrow(gone);
    expect([...desk.results.keys()].sort()).toEqual([0, 1, 3]);
  });

  test('that is asked to end writes down what was answered, and is cancelled rather than failed', async () => {
    const running = run((line, signal, onWait) => {
      if (line.line !== 3) return answer(line, signal, onWait);
      environment.cancel();
      return new Promise((_resolve, reject) => {
        const end = () => {
          reject(new Error('aborted'));
        };
        if (signal.aborted) end();
        else signal.addEventListener('abort', end);
      });
    });
    await expect(running).rejects.toBeInstanceOf(CancelledFailure);
    expect([...desk.results.keys()].sort()).toEqual([0, 1, 2]);
  });
});
