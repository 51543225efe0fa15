import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { request, type Dispatcher } from 'undici';
import { MusterError, messageOf } from '../../../domain/errors.ts';
import { displayUri } from '../../../domain/storage/display-uri.ts';
import { fromSystem } from '../failures.ts';
import { sha256 } from './content.ts';
import type { StorageLimits } from './fetcher.ts';

/**
 * One file over HTTP into staging. A cut download is resumed by Range where the server names the version of its
 * file (a strong ETag or a date), also by a later agent; the length is checked; redirects are followed by hand, so
 * that a token never leaves for another origin.
 */
export interface Download {
  readonly url: string;
  /** Full path of the finished file. */
  readonly target: string;
  readonly staging: string;
  readonly dispatcher: Dispatcher;
  /** Sent to the origin of `url` only. */
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly limits: StorageLimits;
  readonly onBytes: (done: number, total: number | null) => void;
  /** Looks at the answer's head before the body is read; may throw. */
  readonly inspect?: (headers: Headers) => void;
}

export interface Downloaded {
  /** The server said that what we hold is still current (304). */
  readonly isUnchanged: boolean;
  readonly validator: string | null;
}

type Headers = Dispatcher.ResponseData['headers'];

const limits = { redirects: 5, attempts: 5, headersTimeoutMs: 30_000, bodyTimeoutMs: 60_000 } as const;

export async function download(task: Download): Promise<Downloaded> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await once(task);
    } catch (error) {
      const failure = plain(task, error);
      const isPassing = failure instanceof MusterError && failure.code === 'storage_unavailable';
      if (!isPassing || attempt >= limits.attempts || task.signal.aborted) throw failure;
      await sleep(task.limits.firstRetryMs * 2 ** (attempt - 1), undefined, { signal: task.signal });
    }
  }
}

async function once(task: Download): Promise<Downloaded> {
  const part = join(task.staging, 'parts', sha256(task.target));
  const begun = await begunPart(part);
  const resume = begun ? { range: `bytes=${begun.bytes}-`, 'if-range': begun.validator } : {};
  const response = await follow(task, { ...task.headers, 'accept-encoding': 'identity', ...resume });
  const { statusCode, headers, body } = response;
  try {
    if (statusCode === 304) return { isUnchanged: true, validator: null };
    if (statusCode === 416) {
      await removePart(part);
      throw unavailable(task, 'refused to go on with a cut download');
    }
    checkStatus(task, statusCode);
    task.inspect?.(headers);
    refuseEncoding(task, headers);
    const offset = statusCode === 206 ? begun?.bytes : 0;
    if (offset === undefined || (statusCode === 206 && rangeStart(headers) !== offset)) {
      await removePart(part);
      throw unavailable(task, 'sent another range than was asked for');
    }
    await receive(task, { part, offset, headers, body });
    await finish(task, part);
    return { isUnchanged: false, validator: validatorOf(headers) };
  } finally {
    body.on('error', () => undefined).destroy();
  }
}

async function receive(
  task: Download,
  from: {
    readonly part: string;
    readonly offset: number;
    readonly headers: Headers;
    readonly body: Readable;
  },
): Promise<void> {
  const { part, offset, headers } = from;
  const length = contentLength(headers);
  const total = length === null ? null : offset + length;
  if ((total ?? 0) > task.limits.maxBytes) throw tooLarge(task);
  await mkdir(dirname(part), { recursive: true, mode: 0o700 });
  const validator = strongValidator(headers);
  if (offset === 0) {
    await rm(`${part}.json`, { force: true });
    if (validator !== null) await writeFile(`${part}.json`, JSON.stringify({ validator }));
  }
  let done = offset;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      task.onBytes(done, total);
      if (done > task.limits.maxBytes) next(tooLarge(task));
      else next(null, chunk);
    },
  });
  await pipeline(
    from.body,
    meter,
    createWriteStream(part, { flags: offset === 0 ? 'w' : 'a', mode: 0o600 }),
    {
      signal: task.signal,
    },
  );
  if (total !== null && done !== total) {
    throw unavailable(task, `ended after ${done} of ${total} bytes`);
  }
}

async function finish(task: Download, part: string): Promise<void> {
  await mkdir(dirname(task.target), { recursive: true });
  await rename(part, task.target);
  await rm(`${part}.json`, { force: true });
}

/** GET with redirects; headers that authorize are dropped at the first other origin. */
async function follow(task: Download, headers: Record<string, string>): Promise<Dispatcher.ResponseData> {
  let url = new URL(task.url);
  const home = url.origin;
  for (let hops = 0; hops <= limits.redirects; hops++) {
    const { authorization: _, ...publicHeaders } = headers;
    const response = await request(url, {
      dispatcher: task.dispatcher,
      headers: url.origin === home ? headers : publicHeaders,
      signal: task.signal,
      headersTimeout: limits.headersTimeoutMs,
      bodyTimeout: limits.bodyTimeoutMs,
    });
    const location = response.headers['location'];
    if (![301, 302, 303, 307, 308].includes(response.statusCode) || typeof location !== 'string')
      return response;
    await response.body.dump();
    const next = new URL(location, url);
    const isDowngrade = url.protocol === 'https:' && next.protocol !== 'https:';
    if (isDowngrade || !/^https?:$/.test(next.protocol)) {
      throw new MusterError(
        'storage_forbidden',
        `${displayUri(task.url)} redirects to an address that is not safe to follow.`,
      );
    }
    url = next;
  }
  throw new MusterError(
    'storage_forbidden',
    `${displayUri(task.url)} redirects more than ${limits.redirects} times.`,
  );
}

function checkStatus(task: Download, status: number): void {
  if (status === 200 || status === 206) return;
  const text = `URI: ${displayUri(task.url)} returned a ${status} response code.`;
  if (status === 401 || status === 403) throw new MusterError('storage_forbidden', text);
  if (status >= 500 || status === 408 || status === 425 || status === 429) {
    throw new MusterError('storage_unavailable', text);
  }
  throw new MusterError('storage_not_found', text);
}

/** A .gz file may be labelled so and is kept as it is; anything else would be stored packed under a false name. */
function refuseEncoding(task: Download, headers: Headers): void {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity' || /gz$/i.test(new URL(task.url).pathname)) return;
  throw new MusterError(
    'storage_not_supported',
    `${displayUri(task.url)} is sent with content encoding ${String(encoding)} though none was asked for.`,
  );
}

async function begunPart(part: string): Promise<{ bytes: number; validator: string } | null> {
  try {
    const { validator } = JSON.parse(await readFile(`${part}.json`, 'utf8')) as { validator: string };
    const { size } = await stat(part);
    return size > 0 && typeof validator === 'string' ? { bytes: size, validator } : null;
  } catch {
    return null;
  }
}

async function removePart(part: string): Promise<void> {
  await rm(part, { force: true });
  await rm(`${part}.json`, { force: true });
}

/** What If-Range may carry: a weak ETag does not promise equal bytes. */
function strongValidator(headers: Headers): string | null {
  const { etag } = headers;
  if (typeof etag === 'string' && !etag.startsWith('W/')) return etag;
  const modified = headers['last-modified'];
  return typeof modified === 'string' ? modified : null;
}

function validatorOf(headers: Headers): string | null {
  const { etag } = headers;
  return typeof etag === 'string' ? etag : strongValidator(headers);
}

function contentLength(headers: Headers): number | null {
  const value = headers['content-length'];
  return typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : null;
}

function rangeStart(headers: Headers): number | null {
  const match = /^bytes (\d+)-/.exec(String(headers['content-range']));
  return match ? Number(match[1]) : null;
}

function tooLarge(task: Download): MusterError {
  return new MusterError(
    'storage_forbidden',
    `${displayUri(task.url)} is larger than ${task.limits.maxBytes} bytes.`,
  );
}

function unavailable(task: Download, what: string): MusterError {
  return new MusterError('storage_unavailable', `The download of ${displayUri(task.url)} ${what}.`);
}

function plain(task: Download, error: unknown): unknown {
  if (error instanceof MusterError || task.signal.aborted) return error;
  const system = fromSystem(error);
  if (system) return system;
  const message = messageOf(error);
  return new MusterError(
    'storage_unavailable',
    `${displayUri(task.url)} could not be downloaded: ${message}`,
    {
      cause: error,
    },
  );
}
