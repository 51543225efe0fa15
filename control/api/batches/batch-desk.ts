import { randomBytes } from 'node:crypto';
import { endedStatuses } from '../../../domain/batch/batch.schema.ts';
import type {
  Batch,
  BatchError,
  BatchLines,
  BatchPlan,
  BatchRequest,
  BatchResult,
} from '../../../domain/batch/batch.schema.ts';
import {
  batchLinesMax,
  checkLine,
  errorsMax,
  lineBytesMax,
  stepBytesMax,
  windowMs,
} from '../../../domain/batch/lines.ts';
import { ownerOf } from '../../../domain/access/caller.ts';
import type { BatchOutcome } from '../../../domain/batch/messages.ts';
import { lineId, unansweredLine } from '../../../domain/batch/output.ts';
import { MusterError } from '../../../domain/errors.ts';
import type { BatchRecord, Batches, FileRecord } from '../../store/batches.ts';
import type { Lifecycle } from '../lifecycle.ts';
import { indexEvery } from './file-store.ts';
import type { FileBytes } from './file-store.ts';

/**
 * What a batch is, from its creation to its files. The workflow `batch/<id>` drives it and survives every process; all
 * that it drives is here, idempotent, over the store and the folder of files.
 */
export interface BatchDeskDeps {
  readonly store: Batches;
  readonly bytes: FileBytes;
  readonly lifecycle: Pick<Lifecycle, 'startBatch' | 'cancelBatch'>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

type Caller = BatchLines['caller'];
interface Checked {
  readonly total: number;
  readonly errors: BatchError[];
}
/** Until then a workflow that lives has ended its batch by itself. */
const overdueMs = 3_600_000;
const ended: ReadonlySet<Batch['status']> = new Set(endedStatuses);

export class BatchDesk {
  private readonly deps: BatchDeskDeps;
  private readonly opening = new Map<string, Promise<BatchPlan>>();
  private readonly closing = new Map<string, Promise<void>>();

  constructor(deps: BatchDeskDeps) {
    this.deps = deps;
  }

  /** @throws MusterError not_found (no such input), invalid_input, temporal_unavailable: then there is no batch */
  async create(caller: Caller, request: BatchRequest): Promise<Batch> {
    const { store, lifecycle } = this.deps;
    const input = await store.file(request.input_file_id);
    if (input?.tenant !== ownerOf(caller))
      throw new MusterError('not_found', `No such File object: ${request.input_file_id}`);
    if (input.file.purpose !== 'batch')
      throw new MusterError(
        'invalid_input',
        `The file's purpose is '${input.file.purpose}'; a batch needs one of purpose 'batch'.`,
      );
    const lifeSeconds = windowMs(request.completion_window) / 1000;
    const batch = newBatch(request, this.seconds(), lifeSeconds);
    await store.addBatch({ tenant: ownerOf(caller), caller, batch });
    try {
      await lifecycle.startBatch(batch.id);
    } catch (error) {
      await store.removeBatch(batch.id);
      throw error;
    }
    return batch;
  }

  /** With counts of this moment. */
  async describe({ batch }: BatchRecord): Promise<Batch> {
    if (ended.has(batch.status)) return batch;
    const counts = await this.deps.store.counts(batch.id);
    return { ...batch, request_counts: { ...batch.request_counts, ...counts } };
  }

  async cancel(record: BatchRecord): Promise<Batch> {
    const { store } = this.deps;
    const { id, status } = record.batch;
    if (ended.has(status))
      throw new MusterError('conflict', `Cannot cancel a batch with status '${status}'.`);
    const hasWorkflow = await this.hasTold(id);
    await store.changeBatch(id, (batch) =>
      isPast(batch) || batch.status === 'cancelling'
        ? batch
        : { ...batch, status: 'cancelling', cancelling_at: this.seconds() },
    );
    if (!hasWorkflow) await this.end(id, 'cancelled'); // it was terminated: nobody else would
    return this.describe(await this.record(id));
  }

  /** Ends batches whose time was over long ago: their workflow was terminated, or failed for good. */
  async endOverdue(): Promise<void> {
    for (const { batch } of await this.deps.store.openBatches()) {
      const isOverdue = this.deps.now() > batch.expires_at * 1000 + overdueMs;
      if (isOverdue && !(await this.hasTold(batch.id))) await this.end(batch.id, 'expired');
    }
  }

  /** In its workflow's place, which may have had all answers and not have written the files. */
  private async end(id: string, outcome: BatchOutcome): Promise<void> {
    const { batch } = await this.record(id);
    const { completed, failed } = await this.deps.store.counts(id);
    const { total } = batch.request_counts;
    await this.close(id, total > 0 && completed + failed === total ? 'completed' : outcome);
  }

  /** Tells its workflow to end. @returns false when it has none that could */
  private async hasTold(id: string): Promise<boolean> {
    try {
      await this.deps.lifecycle.cancelBatch(id);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  /** Batches whose workflow may never have been started, because this process was killed in between. */
  async resume(): Promise<void> {
    for (const { batch } of await this.deps.store.openBatches())
      await this.deps.lifecycle.startBatch(batch.id);
  }

  /** Looks through the input, once: a batch that was looked through already keeps its plan. */
  open(id: string): Promise<BatchPlan> {
    return joined(this.opening, id, () => this.lookThrough(id));
  }

  private async lookThrough(id: string): Promise<BatchPlan> {
    const { batch } = await this.record(id);
    const plan = (total: number, isValid: boolean): BatchPlan => ({
      isValid,
      total,
      expiresAt: batch.expires_at * 1000,
    });
    if (ended.has(batch.status)) return plan(0, false);
    // Also one whose files are being written: a workflow that begins anew goes on to write them.
    if (batch.in_progress_at !== null) return plan(batch.request_counts.total, true);
    const { total, errors } = await this.check(batch).catch((error: unknown): Checked => {
      if (isNotFound(error)) return { total: 0, errors: [lostInput(batch)] };
      throw error;
    });
    const now = this.seconds();
    const changed = await this.deps.store.changeBatch(id, (known) => {
      if (isPast(known)) return known;
      if (errors.length > 0)
        return { ...known, status: 'failed', failed_at: now, errors: { object: 'list', data: errors } };
      const status = known.status === 'cancelling' ? 'cancelling' : 'in_progress';
      return { ...known, status, in_progress_at: now, request_counts: { total, completed: 0, failed: 0 } };
    });
    return changed !== null && isPast(changed.batch) ? plan(0, false) : plan(total, true);
  }

  /** Of the lines [from, to) that have no result yet, as many of the first as fit into one answer. */
  async lines(id: string, from: number, to: number): Promise<BatchLines> {
    const { batch, caller } = await this.record(id);
    if (isPast(batch)) return { endpoint: batch.endpoint, caller, lines: [] };
    const answered = await this.deps.store.answeredLines(id, from, to);
    const lines: BatchLines['lines'] = [];
    let line = from - 1;
    let bytes = 0;
    for await (const text of this.input(batch, from, to)) {
      line += 1;
      if (text === null || answered.has(line)) continue;
      const checked = checkLine(text, batch.endpoint, new Set());
      if (!checked.ok) continue;
      bytes += text.length;
      if (lines.length > 0 && bytes > stepBytesMax) break;
      lines.push({ line, customId: checked.customId, body: checked.body });
    }
    return { endpoint: batch.endpoint, caller, lines };
  }

  async addResults(id: string, results: readonly BatchResult[]): Promise<void> {
    await this.record(id);
    await this.deps.store.addResults(id, results);
  }

  /** Writes its files, once. */
  close(id: string, outcome: BatchOutcome): Promise<void> {
    return joined(this.closing, id, () => this.writeFiles(id, outcome));
  }

  private async writeFiles(id: string, outcome: BatchOutcome): Promise<void> {
    const { store } = this.deps;
    // From here on no result is taken: what is counted is what the files hold.
    const record = await store.changeBatch(id, (batch) =>
      isPast(batch) ? batch : { ...batch, status: 'finalizing', finalizing_at: this.seconds() },
    );
    if (record === null || ended.has(record.batch.status)) return;
    const total = record.batch.request_counts.total;
    const counts = await store.counts(id);
    const missing = total - counts.completed - counts.failed;
    // All lines are asked before a batch is completed: those that were not could not be read.
    const status = outcome === 'completed' && missing > 0 ? 'failed' : outcome;
    const told = counts.failed + (status === 'failed' ? 0 : missing);
    const output = await this.writeFile(record, 'output', this.answered(id, total), counts.completed);
    const failed = await this.writeFile(record, 'error', this.unanswered(record.batch, outcome), told);
    const now = this.seconds();
    const batch: Batch = {
      ...record.batch,
      status,
      output_file_id: output?.file.id ?? null,
      error_file_id: failed?.file.id ?? null,
      [`${status}_at`]: now,
      ...(status === 'failed' ? { errors: { object: 'list', data: [lostInput(record.batch)] } } : {}),
      request_counts: { total, completed: counts.completed, failed: counts.failed },
    };
    await store.closeBatch(
      id,
      batch,
      [output, failed].filter((file) => file !== null),
    );
  }

  private async check(batch: Batch): Promise<Checked> {
    const { bytes } = this.deps;
    const errors: BatchError[] = [];
    const offsets: number[] = [];
    const seen = new Set<string>();
    let total = 0;
    let offset = 0;
    for await (const { text, bytes: size } of bytes.lines(batch.input_file_id)) {
      if (total % indexEvery === 0) offsets.push(offset);
      offset += size;
      total += 1;
      const fault = lineFault(text, total, batch.endpoint, seen);
      if (fault !== null && errors.length < errorsMax) errors.push(fault);
      if (total > batchLinesMax) break;
    }
    if (total === 0)
      errors.push({ code: 'empty_file', message: 'The input file has no lines.', param: null, line: null });
    await bytes.putIndex(batch.input_file_id, offsets);
    return { total, errors };
  }

  private async *answered(id: string, total: number): AsyncGenerator<string> {
    for (let from = 0; from < total; from += indexEvery) {
      for (const result of await this.deps.store.results(id, from, from + indexEvery))
        if (result.ok) yield `${result.text}\n`;
    }
  }

  /** Lines that failed, and those that nobody answered, in the input's order. */
  private async *unanswered(batch: Batch, outcome: BatchOutcome): AsyncGenerator<string> {
    const { id, endpoint } = batch;
    const total = batch.request_counts.total;
    const code = outcome === 'expired' ? ('batch_expired' as const) : ('batch_cancelled' as const);
    const message = `This request could not be executed before the batch ${outcome === 'expired' ? 'expired' : 'was cancelled'}.`;
    for (let from = 0; from < total; from += indexEvery) {
      const to = Math.min(from + indexEvery, total);
      const results = new Map((await this.deps.store.results(id, from, to)).map((each) => [each.line, each]));
      let line = from - 1;
      for await (const text of this.input(batch, from, to)) {
        line += 1;
        const result = results.get(line);
        if (result?.ok === false) yield `${result.text}\n`;
        if (result !== undefined || text === null) continue;
        const checked = checkLine(text, endpoint, new Set());
        const customId = checked.ok ? checked.customId : '';
        yield `${unansweredLine({ id: lineId(id, line), customId, code, message })}\n`;
      }
    }
  }

  /** Lines [from, to); null for each when the file is lost. */
  private async *input(batch: Batch, from: number, to: number): AsyncGenerator<string | null> {
    try {
      yield* this.deps.bytes.someLines(batch.input_file_id, from, to);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      for (let line = from; line < to; line += 1) yield null;
    }
  }

  private async writeFile(
    { batch, tenant }: BatchRecord,
    kind: 'output' | 'error',
    lines: AsyncIterable<string>,
    count: number,
  ): Promise<FileRecord | null> {
    if (count === 0) return null;
    const id = `file-${batch.id.replace(/^batch_/, '')}-${kind}`;
    const size = await this.deps.bytes.put(id, lines, Infinity);
    const file = {
      id,
      object: 'file' as const,
      bytes: size,
      created_at: this.seconds(),
      filename: `${batch.id}_${kind}.jsonl`,
      purpose: 'batch_output' as const,
      status: 'processed' as const,
    };
    return { tenant, file };
  }

  private async record(id: string): Promise<BatchRecord> {
    const record = await this.deps.store.batch(id);
    if (record === null) throw new MusterError('not_found', `No such Batch object: ${id.slice(0, 200)}`);
    return record;
  }

  private seconds(): number {
    return Math.floor(this.deps.now() / 1000);
  }
}

/** No line of it is asked any more, and no result is taken. */
function isPast({ status }: Batch): boolean {
  return status === 'finalizing' || ended.has(status);
}

/** Large files take longer than their askers wait, who then ask again: they get what is under way. */
function joined<T>(underWay: Map<string, Promise<T>>, id: string, work: () => Promise<T>): Promise<T> {
  const known = underWay.get(id);
  if (known !== undefined) return known;
  const made = work().finally(() => {
    underWay.delete(id);
  });
  underWay.set(id, made);
  return made;
}

function isNotFound(error: unknown): boolean {
  return error instanceof MusterError && error.code === 'not_found';
}

/** An input that is lost does not come again. */
function lostInput({ input_file_id: id }: Batch): BatchError {
  const message = `The input file ${id} is lost: upload it again, and make another batch.`;
  return { code: 'input_file_not_found', message, param: 'input_file_id', line: null };
}

function lineFault(text: string, line: number, endpoint: string, seen: Set<string>): BatchError | null {
  if (line > batchLinesMax) {
    const message = `A batch has at most ${batchLinesMax} lines; split the file.`;
    return { code: 'too_many_lines', message, param: null, line };
  }
  if (Buffer.byteLength(text) > lineBytesMax) {
    const message = `This line is longer than ${lineBytesMax} bytes.`;
    return { code: 'line_too_long', message, param: null, line };
  }
  const checked = checkLine(text, endpoint, seen);
  return checked.ok ? null : { ...checked.error, line };
}

/** Ids grow with time, so that lists are in order. */
export function newId(prefix: 'batch_' | 'file-', nowMs: number): string {
  return `${prefix}${nowMs.toString(16).padStart(12, '0')}${randomBytes(10).toString('hex')}`;
}

function newBatch(request: BatchRequest, now: number, lifeSeconds: number): Batch {
  return {
    id: newId('batch_', now * 1000),
    object: 'batch',
    endpoint: request.endpoint,
    errors: null,
    input_file_id: request.input_file_id,
    completion_window: request.completion_window,
    status: 'validating',
    output_file_id: null,
    error_file_id: null,
    created_at: now,
    in_progress_at: null,
    expires_at: now + lifeSeconds,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
    metadata: request.metadata ?? null,
  };
}
