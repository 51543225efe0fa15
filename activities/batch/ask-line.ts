import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import type { BatchLine, BatchLines, BatchResult } from '../../domain/batch/batch.schema.ts';
import { answeredLine, lineId } from '../../domain/batch/output.ts';

/**
 * One line asked of the gateway in its caller's name, as best-effort work. Answers that say "not now" (too many
 * requests, nothing ready) are waited out for as long as the batch may take, whose end stops all that waits; faults of
 * servers are tried again a few times; every other answer is the line's result.
 */
export interface AskedLine extends BatchLine {
  readonly batchId: string;
  readonly endpoint: BatchLines['endpoint'];
  readonly caller: BatchLines['caller'];
}

/**
 * @param onWait told before each wait for what it is: a status, and the error's code where it has one; nothing that an
 *   answer says besides, which may be its caller's own words
 * @throws when the gateway cannot be reached, or `signal` fires
 */
export type AskLine = (
  line: AskedLine,
  signal: AbortSignal,
  onWait: (why: string) => void,
) => Promise<BatchResult>;

export interface AskLineOptions {
  /** http://host:port */
  readonly gatewayUrl: string;
  readonly internalToken: () => Promise<string>;
  /** Longest wait between two tries, whatever a server asks for. */
  readonly pauseMsMax?: number;
  readonly answerBytesMax?: number;
  /** Longest silence before an answer, and within it. */
  readonly answerMsMax?: number;
}

const pauseMsMax = 30_000;
const answerBytesMax = 16 * 1024 * 1024;
const faultsMax = 3;
const connectionsMax = 64;
/** Best-effort work may stand in the gateway's queue for long. */
const answerMsMax = 600_000;
const notNow = new Set([429, 503]);
const faults = new Set([500, 502, 504]);

export function lineAsker(options: AskLineOptions): AskLine & { close(): Promise<void> } {
  const agent = new Agent({
    connections: connectionsMax,
    headersTimeout: options.answerMsMax ?? answerMsMax,
    bodyTimeout: options.answerMsMax ?? answerMsMax,
  });
  const ask: AskLine = async (line, signal, onWait) => {
    let failed = 0;
    for (let tries = 1; ; tries += 1) {
      const answer = await askOnce(options, agent, line, signal).catch((error: unknown) =>
        faultOf(error, line, signal),
      );
      if (faults.has(answer.status)) failed += 1;
      if (isFinal(answer) || failed >= faultsMax) return resultOf(line, answer);
      onWait(`${answer.status} ${answer.code}`.trim());
      await sleep(pauseMs(tries, answer.retryAfterMs, options), undefined, { signal });
    }
  };
  return Object.assign(ask, { close: () => agent.destroy() });
}

interface Answer {
  readonly status: number;
  readonly requestId: string;
  readonly body: string;
  /** Of an error that has one, else ''. */
  readonly code: string;
  /** 0 when it asks for no time. */
  readonly retryAfterMs: number;
}

/** A budget that is used up says when it begins anew; one that does not say so never does. */
function isFinal({ status, code, retryAfterMs }: Answer): boolean {
  if (code === tooLarge || (code === 'insufficient_quota' && retryAfterMs === 0)) return true;
  return !notNow.has(status) && !faults.has(status);
}

const tooLarge = 'answer_too_large';

async function askOnce(
  options: AskLineOptions,
  dispatcher: Agent,
  line: AskedLine,
  signal: AbortSignal,
): Promise<Answer> {
  const requestId = lineId(line.batchId, line.line);
  const { statusCode, headers, body } = await request(options.gatewayUrl + line.endpoint, {
    method: 'POST',
    dispatcher,
    signal,
    headers: {
      'content-type': 'application/json',
      'x-request-id': requestId,
      'x-muster-internal': await options.internalToken(),
      'x-muster-caller': Buffer.from(JSON.stringify({ ...line.caller, tier: 'best-effort' })).toString(
        'base64',
      ),
    },
    body: line.body,
  });
  const seconds = Number(headers['retry-after']);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : 0;
  const bytesMax = options.answerBytesMax ?? answerBytesMax;
  const text = await textOf(body, bytesMax).catch((error: unknown) => {
    throw new CutAnswer(error);
  });
  if (text !== null)
    return { status: statusCode, requestId, body: text, code: codeIn(statusCode, text), retryAfterMs };
  return failedAs(502, requestId, {
    message: `The answer is larger than ${bytesMax} bytes.`,
    code: tooLarge,
  });
}

/** The answer had begun. */
class CutAnswer extends Error {
  constructor(cause: unknown) {
    super('the answer broke off', { cause });
  }
}

/**
 * An answer that breaks off, or does not come, is a fault as one that says so: a line whose answer always breaks off
 * must not hold up its batch. @throws all else: the gateway is not there
 */
function faultOf(error: unknown, line: AskedLine, signal: AbortSignal): Answer {
  if (signal.aborted || !(error instanceof Error)) throw error;
  const requestId = lineId(line.batchId, line.line);
  const { code } = (error instanceof CutAnswer ? error.cause : error) as { readonly code?: unknown };
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return failedAs(504, requestId, { message: 'The answer did not come in time.', code: 'answer_timeout' });
  if (!(error instanceof CutAnswer)) throw error;
  return failedAs(502, requestId, { message: 'The answer broke off.', code: 'answer_cut' });
}

function failedAs(
  status: number,
  requestId: string,
  error: { readonly message: string; readonly code: string },
): Answer {
  return { status, requestId, body: JSON.stringify({ error }), code: error.code, retryAfterMs: 0 };
}

/** @returns null when there is more than `bytesMax` */
async function textOf(body: Readable, bytesMax: number): Promise<string | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes > bytesMax) return null; // ends the stream, too
  }
  return Buffer.concat(parts).toString('utf8');
}

function codeIn(status: number, text: string): string {
  if (status < 400) return '';
  return /"code":\s*"([a-z0-9_]{1,64})"/.exec(text.slice(0, 4_096))?.[1] ?? '';
}

function resultOf(line: AskedLine, answer: Answer): BatchResult {
  const id = lineId(line.batchId, line.line);
  const { customId } = line;
  const text = answeredLine({ id, customId, ...answer });
  return { line: line.line, ok: answer.status < 400, text };
}

/** As the server asks, else 1 s, 2 s, 4 s, …; a bound keeps a batch awake. */
function pauseMs(tries: number, askedMs: number, options: AskLineOptions): number {
  const maxMs = options.pauseMsMax ?? pauseMsMax;
  return Math.min(maxMs, Math.max(askedMs, 1_000 * 2 ** Math.min(tries - 1, 10)));
}
