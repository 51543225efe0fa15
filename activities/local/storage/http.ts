import { join } from 'node:path';
import { MusterError } from '../../../domain/errors.ts';
import { contentTypeProblem } from '../../../domain/storage/archive.ts';
import type { Source } from '../../../domain/storage/uri.ts';
import { download } from './download.ts';
import type { Fetched, FetchTask, StorageDeps } from './fetcher.ts';

/** http(s)://: one file. A server that names versions is asked only whether it has another one. */
export async function fetchHttp(
  source: Extract<Source, { kind: 'http' }>,
  deps: Pick<StorageDeps, 'dispatcher'>,
  task: FetchTask,
): Promise<Fetched> {
  const { url, filename, archive } = source;
  const result = await download({
    url,
    target: join(task.staging, 'files', filename),
    staging: task.staging,
    dispatcher: deps.dispatcher,
    headers: conditional(task.known),
    signal: task.signal,
    limits: task.limits,
    onBytes: (done, total) => {
      task.report({ done, total, message: `downloading ${filename}` });
    },
    inspect: (headers) => {
      const type = headers['content-type'];
      const problem = contentTypeProblem(url, filename, archive, typeof type === 'string' ? type : undefined);
      if (problem !== null) throw new MusterError('storage_not_supported', problem);
    },
  });
  return result.isUnchanged
    ? { unchanged: true }
    : { unchanged: false, validator: result.validator, archive };
}

function conditional(known: string | null): Record<string, string> {
  if (known === null) return {};
  return known.includes('"') ? { 'if-none-match': known } : { 'if-modified-since': known };
}
