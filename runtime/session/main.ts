import { parentPort, workerData } from 'node:worker_threads';
import { MusterError } from '../../domain/errors.ts';
import type { Job, Report, ThreadStart } from './messages.ts';
import type { OnnxModel } from './onnx.ts';
import { openOnnx } from './onnx.ts';

/**
 * The thread of one model. `onnxruntime-node` computes on the thread that calls it, so a model on the server's own
 * thread would stop health checks and every other request while it computes.
 */
const port = parentPort;
if (port === null) throw new Error('This file is the entry of a worker thread.');
const { files, threads } = workerData as ThreadStart;

// ONNX Runtime's JavaScript hands FP16 over as Float16Array where the engine has it, and its native part reads such
// an array as empty (1.30 on Node 24). Without the class, in this thread alone, it uses Uint16Array as it used to.
Reflect.deleteProperty(globalThis, 'Float16Array');

async function report(work: () => Promise<Report>): Promise<void> {
  try {
    port?.postMessage(await work());
  } catch (error) {
    const known = error instanceof MusterError;
    const message = error instanceof Error ? error.message : String(error);
    port?.postMessage({ kind: 'failed', code: known ? error.code : 'internal', message } satisfies Report);
  }
}

/** Only models for text pay for the tokenizer's code. */
async function embedderOf(model: OnnxModel, tokenizer: string) {
  const { openEmbedder } = await import('./embedder.ts');
  return openEmbedder(model, tokenizer);
}

await report(async () => {
  const model = await openOnnx(files.onnx, threads);
  const embedder = files.tokenizer === undefined ? undefined : await embedderOf(model, files.tokenizer);
  port.on('message', (job: Job) => {
    void report(async () => {
      if (job.kind === 'run') return { kind: 'ran', outputs: await model.run(job.inputs, job.outputs) };
      if (embedder === undefined) throw new MusterError('not_implemented', 'This model has no tokenizer.');
      return { kind: 'embedded', embeddings: await embedder.embed(job.texts) };
    });
  });
  return { kind: 'loaded', shape: model.shape };
});
