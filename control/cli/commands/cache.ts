import { createReadStream } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { readWarmLine } from '../../../domain/cache/warm-line.ts';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { askGateway, errorWords, explainRefusal } from '../gateway.ts';

/** `muster cache purge MODEL` */
export async function purge(context: Context, model: string): Promise<void> {
  const response = await askGateway(context, '/v1/cache/purge', JSON.stringify({ model }));
  const text = await response.text();
  if (!response.ok) throw explainRefusal(response.status, text, model);
  const purged = JSON.parse(text) as { model: string; local: number; shared: number };
  context.print(`${purged.model}: forgot ${purged.local} answers in memory and ${purged.shared} in Redis`);
}

/** Lines that failed and are told one by one; the others are counted. */
const toldMax = 10;
const concurrencyMax = 256;

interface Counts {
  kept: number;
  known: number;
  uncacheable: number;
  failed: number;
}

/**
 * `muster cache warm FILE`: each line once, so many at a time; a file of any length is never whole in memory.
 *
 * @throws CliError when a line failed, after all were sent
 */
export async function warm(
  context: Context,
  file: string,
  options: { readonly concurrency: string },
): Promise<void> {
  const concurrency = Number(options.concurrency);
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > concurrencyMax) {
    throw new CliError(`--concurrency must be a whole number from 1 to ${concurrencyMax}.`, exitCodes.usage);
  }
  const counts: Counts = { kept: 0, known: 0, uncacheable: 0, failed: 0 };
  const lines = numbered(open(context, file))[Symbol.asyncIterator]();
  const worker = async (): Promise<void> => {
    for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
      const { text, number } = next.value;
      const why = await warmLine(context, text, counts);
      if (why === null) continue;
      counts.failed += 1;
      if (counts.failed <= toldMax) context.note(`line ${number}: ${why}`);
    }
  };
  try {
    await Promise.all(Array.from({ length: concurrency }, worker));
  } catch (error) {
    throw asCliError(error, file);
  }
  context.print(
    `${counts.kept} answers kept, ${counts.known} were there already, ${counts.uncacheable} are not cached by the policy, ${counts.failed} failed`,
  );
  if (counts.failed > 0) throw new CliError(`${counts.failed} requests failed.`);
}

/** @returns why it failed, or null */
async function warmLine(context: Context, line: string, counts: Counts): Promise<string | null> {
  const request = readWarmLine(line);
  if (request.kind === 'other') return null; // an answer, in a log of both
  if (request.kind === 'refused') return request.why;
  const response = await askGateway(context, request.path, request.body);
  const text = await response.text();
  if (!response.ok) return `${response.status}: ${errorWords(text) ?? 'no words'}`;
  const state = response.headers.get('x-muster-cache');
  if (state === 'hit') counts.known += 1;
  else if (state === 'miss' || state === 'refresh') counts.kept += 1;
  else counts.uncacheable += 1;
  return null;
}

function open({ io }: Context, file: string): Readable {
  return file === '-' ? io.stdin : createReadStream(resolve(io.cwd, file));
}

async function* numbered(input: Readable): AsyncGenerator<{ text: string; number: number }> {
  let number = 0;
  // readline by itself leaves a broken stream unsaid.
  const broken = new Promise<never>((_resolve, reject) => input.once('error', reject));
  const lines = createInterface({ input, crlfDelay: Infinity })[Symbol.asyncIterator]();
  for (;;) {
    const next = await Promise.race([lines.next(), broken]);
    if (next.done === true) return;
    number += 1;
    if (next.value.trim() !== '') yield { text: next.value, number };
  }
}

function asCliError(error: unknown, file: string): Error {
  if (error instanceof CliError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new CliError(`${file} cannot be read: ${message}`, exitCodes.usage, { cause: error });
}
