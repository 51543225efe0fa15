import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BatchLines } from '../../../domain/batch/batch.schema.ts';
import { anonymous } from '../../../domain/access/caller.ts';
import { MusterError } from '../../../domain/errors.ts';
import { BatchDesk } from '../../../control/api/batches/batch-desk.ts';
import { fileBytes } from '../../../control/api/batches/file-store.ts';
import type { FileBytes } from '../../../control/api/batches/file-store.ts';
import { openStore } from '../../../control/store/store.ts';
import type { Store } from '../../../control/store/store.ts';

const input = 'file-input';
const caller: BatchLines['caller'] = {
  ...anonymous,
  kind: 'key',
  id: 'k',
  tenant: 't',
  scopes: [],
  models: [],
};
const line = (id: string) =>
  JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body: { model: 'm' } });

let folder: string;
let store: Store;
let desk: BatchDesk;
let nowMs: number;
let onWritten: (id: string) => Promise<void>;
/** What the workflow of a batch answers to a cancel. */
let cancelBatch: () => Promise<void>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-desk-'));
  store = await openStore({ folder: join(folder, 'store') });
  nowMs = Date.parse('2026-11-24T12:00:00Z');
  onWritten = () => Promise.resolve();
  cancelBatch = () => Promise.resolve();
  const real = fileBytes(join(folder, 'files'));
  const bytes: FileBytes = {
    ...real,
    async put(id, content, bytesMax) {
      const size = await real.put(id, content, bytesMax);
      await onWritten(id);
      return size;
    },
  };
  const lifecycle = { startBatch: () => Promise.resolve(), cancelBatch: () => cancelBatch() };
  desk = new BatchDesk({ store: store.batches, bytes, lifecycle, now: () => nowMs });
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

/** @returns the id of a batch of three lines, the first of which is answered */
async function begun(): Promise<string> {
  const content = ['a', 'b', 'c'].map((id) => `${line(id)}\n`).join('');
  const written = (async function* () {
    yield await Promise.resolve(content);
  })();
  await fileBytes(join(folder, 'files')).put(input, written, Infinity);
  const file = { id: input, object: 'file', bytes: content.length, created_at: 1, filename: 'x' } as const;
  await store.batches.putFile({ tenant: 't', file: { ...file, purpose: 'batch', status: 'processed' } });
  const request = {
    input_file_id: input,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  } as const;
  const { id } = await desk.create(caller, request);
  await desk.open(id);
  await desk.addResults(id, [{ line: 0, ok: true, text: '{"custom_id":"a"}' }]);
  return id;
}
const batchOf = async (id: string) => (await store.batches.batch(id))!.batch;
const textOf = (id: string | null) => readFileSync(join(folder, 'files', id!), 'utf8');

test('a result that comes while the files are written is in neither the files nor the counts', async () => {
  const id = await begun();
  const seen: string[] = [];
  onWritten = async () => {
    seen.push((await batchOf(id)).status);
    await desk.addResults(id, [{ line: 1, ok: true, text: '{"custom_id":"b"}' }]);
    expect((await desk.lines(id, 0, 3)).lines).toEqual([]);
  };
  await desk.close(id, 'cancelled');
  expect(seen).toEqual(['finalizing', 'finalizing']);
  const batch = await batchOf(id);
  expect(batch).toMatchObject({ status: 'cancelled', request_counts: { total: 3, completed: 1, failed: 0 } });
  expect(textOf(batch.output_file_id)).toBe('{"custom_id":"a"}\n');
  const told = textOf(batch.error_file_id).trim().split('\n');
  expect(told.map((text) => (JSON.parse(text) as { custom_id: string }).custom_id)).toEqual(['b', 'c']);
});

test('a batch whose time was over an hour ago ends, when its workflow does not end it', async () => {
  const id = await begun();
  nowMs += 24 * 3_600_000 + 3_500_000;
  cancelBatch = () => Promise.reject(new MusterError('not_found', 'The service has no workflow.'));
  await desk.endOverdue();
  expect((await batchOf(id)).status).toBe('in_progress');
  nowMs += 200_000;
  await desk.endOverdue();
  expect((await batchOf(id)).status).toBe('expired');
});

test('a batch whose files were being written goes on to them: by a workflow that begins anew, or by nobody but us', async () => {
  const id = await begun();
  const rest = [1, 2].map((line) => ({ line, ok: true, text: `{"custom_id":"${line}"}` }));
  await desk.addResults(id, rest);
  await store.batches.changeBatch(id, (batch) => ({ ...batch, status: 'finalizing', finalizing_at: 1 }));
  expect(await desk.open(id)).toMatchObject({ isValid: true, total: 3 });
  expect((await desk.lines(id, 0, 3)).lines).toEqual([]);
  nowMs += 48 * 3_600_000;
  cancelBatch = () => Promise.reject(new MusterError('not_found', 'The service has no workflow.'));
  await desk.endOverdue();
  expect(await batchOf(id)).toMatchObject({ status: 'completed', request_counts: { completed: 3 } });
});

test('a batch whose time is over is left to its workflow, when it has one', async () => {
  const id = await begun();
  nowMs += 48 * 3_600_000;
  await desk.endOverdue();
  expect((await batchOf(id)).status).toBe('in_progress');
});
