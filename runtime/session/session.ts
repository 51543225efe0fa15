import { Worker } from 'node:worker_threads';
import { MusterError, messageOf } from '../../domain/errors.ts';
import type { Tensor } from '../../domain/inference-protocol/datatypes.ts';
import type { TensorSpec } from '../../domain/inference-protocol/tensor-spec.ts';
import type { ModelFiles } from '../model-folder.ts';
import type { EmbeddingInput, Embeddings, Job, ModelShape, Report, ThreadStart } from './messages.ts';

interface Waiting {
  readonly job: Job;
  readonly signal: AbortSignal;
  readonly settle: (report: Report) => void;
}

/**
 * One loaded model on a thread of its own. Jobs wait here and go to the thread one at a time, so that a job whose
 * caller has gone is dropped without being computed. How many may wait is the caller's bound (`Admission`).
 */
export class Session {
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
  readonly isEmbedder: boolean;
  readonly #thread: Worker;
  readonly #waiting: Waiting[] = [];
  #running: Waiting | undefined;
  #ended: string | undefined;
  #idle: (() => void) | undefined;

  /** @throws MusterError `model_load_failed` with the file and the reason */
  static async open(files: ModelFiles, threads: number, onLost: (why: string) => void): Promise<Session> {
    const workerData: ThreadStart = { files, threads };
    const thread = new Worker(new URL('./main.ts', import.meta.url), {
      workerData,
      name: `model ${files.name}`,
    });
    const loaded = new Promise<Report>((resolve, reject) => {
      thread.once('message', resolve);
      thread.once('error', reject);
      thread.once('exit', (code) => {
        reject(new Error(`the thread ended with code ${code}`));
      });
    });
    try {
      const report = await loaded;
      if (report.kind === 'loaded')
        return new Session(thread, report.shape, files.tokenizer !== undefined, onLost);
      throw new Error(report.kind === 'failed' ? report.message : report.kind);
    } catch (error) {
      await thread.terminate();
      throw new MusterError('model_load_failed', error instanceof Error ? error.message : String(error), {
        cause: error,
      });
    }
  }

  private constructor(thread: Worker, shape: ModelShape, isEmbedder: boolean, onLost: (why: string) => void) {
    this.#thread = thread;
    this.inputs = shape.inputs;
    this.outputs = shape.outputs;
    this.isEmbedder = isEmbedder;
    thread.on('message', (report: Report) => {
      const done = this.#running;
      this.#running = undefined;
      done?.settle(report);
      this.#next();
    });
    thread.on('error', (error) => {
      this.#end(error instanceof Error ? error.message : String(error), onLost);
    });
    thread.on('exit', (code) => {
      this.#end(`its thread ended with code ${code}`, onLost);
    });
  }

  async run(
    inputs: readonly Tensor[],
    outputs: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly Tensor[]> {
    const report = await this.#submit({ kind: 'run', inputs, outputs }, signal);
    if (report.kind !== 'ran') throw unexpected(report);
    return report.outputs;
  }

  async embed(texts: readonly EmbeddingInput[], signal: AbortSignal): Promise<Embeddings> {
    const report = await this.#submit({ kind: 'embed', texts }, signal);
    if (report.kind !== 'embedded') throw unexpected(report);
    return report.embeddings;
  }

  /** Lets the jobs that it has finish, then frees the model. */
  async close(): Promise<void> {
    if (this.#running !== undefined) await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#ended ??= 'it was unloaded';
    await this.#thread.terminate();
  }

  async #submit(job: Job, signal: AbortSignal): Promise<Report> {
    if (this.#ended !== undefined)
      throw new MusterError('model_not_ready', `The model is gone: ${this.#ended}.`);
    const report = await new Promise<Report>((settle) => {
      this.#waiting.push({ job, signal, settle });
      this.#next();
    });
    if (report.kind === 'failed') throw new MusterError(report.code, report.message);
    return report;
  }

  #next(): void {
    while (this.#running === undefined) {
      const next = this.#waiting.shift();
      if (next === undefined) {
        this.#idle?.();
        return;
      }
      if (next.signal.aborted) {
        next.settle({ kind: 'failed', code: 'timeout', message: 'The caller has gone.' });
        continue;
      }
      this.#running = next;
      try {
        this.#thread.postMessage(next.job, buffersOf(next.job));
      } catch (error) {
        this.#running = undefined;
        next.settle({ kind: 'failed', code: 'internal', message: messageOf(error) });
      }
    }
  }

  #end(why: string, onLost: (why: string) => void): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    const left = [this.#running, ...this.#waiting.splice(0)];
    this.#running = undefined;
    for (const job of left) job?.settle({ kind: 'failed', code: 'inference_failed', message: why });
    this.#idle?.();
    onLost(why);
  }
}

/** Tensors move to the thread without a copy; they were decoded for this job alone. */
function buffersOf(job: Job): ArrayBuffer[] {
  if (job.kind !== 'run') return [];
  return job.inputs.flatMap(({ data }) =>
    'buffer' in data && data.buffer instanceof ArrayBuffer ? [data.buffer] : [],
  );
}

function unexpected(report: Report): MusterError {
  return new MusterError('internal', `The model's thread answered '${report.kind}'.`);
}
