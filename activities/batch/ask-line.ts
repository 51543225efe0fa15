import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { BatchLine, BatchLines, BatchResult } from '../../domain/batch/batch.schema.ts';
import { answeredLine, lineId } from '../../domain/batch/output.ts';

/**
 * One line asked of the gateway in its caller's name, as best-effort work. Answers that say "not now" (too many
 * requests, nothing ready) are waited out for as long as the batch may take; server faults are tried again a few
 * times; every other answer is the line's result.
 */
export interface AskedLine extends BatchLine {
  readonly batchId: string;
  readonly endpoint: BatchLines['endpoint'];
  readonly caller: BatchLines['caller'];
}

/** @throws when the gateway cannot be reached, or `signal` fires */
export type AskLine = (line: AskedLine, signal: AbortSignal) => Promise<BatchResult>;

export interface AskLineOptions {
  /** http://host:port */
  readonly gatewayUrl: string;
  readonly internalToken: () => Promise<string>;
  readonly pauseMsMax?: number;
}

const faultsMax = 3;
const answerBytesMax = 16 * 1024 * 1024;
const notNow = new Set([429, 503]);
const faults = new Set([500, 502, 504]);

export function lineAsker(options: AskLineOptions): AskLine & { close(): Promise<void> } {
  const agent = new Agent({ connections: 64, headersTimeout: 600_000, bodyTimeout: 600_000 });
  const ask: AskLine = async (line, signal) => {
    let failed = 0;
    for (let tries = 1; ; tries += 1) {
      const answer = await askOnce(options, agent, line, signal);
      if (faults.has(answer.status)) failed += 1;
      const isFinal = !notNow.has(answer.status) && (!faults.has(answer.status) || failed >= faultsMax);
      if (isFinal) return resultOf(line, answer);
      await sleep(pauseMs(tries, answer.retryAfterMs, options.pauseMsMax ?? 30_000), undefined, { signal });
    }
  };
  return Object.assign(ask, { close: () => agent.destroy() });
}

interface Answer {
  readonly status: number;
  readonly requestId: string;
  readonly body: string;
  readonly retryAfterMs: number;
}

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
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).length;
    if (bytes > answerBytesMax) {
      body.destroy();
      return { status: 500, requestId, body: '"the answer is too large"', retryAfterMs: 0 };
    }
  }
  const seconds = Number(headers['retry-after']);
  return {
    status: statusCode,
    requestId,
    body: Buffer.concat(parts).toString('utf8'),
    retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : 0,
  };
}

function resultOf(line: AskedLine, answer: Answer): BatchResult {
  const id = lineId(line.batchId, line.line);
  const { customId } = line;
  const text = answeredLine({ id, customId, ...answer });
  return { line: line.line, ok: answer.status < 400, text };
}

/** As the server asks, else 1 s, 2 s, 4 s, …; a bound keeps a batch awake. */
function pauseMs(tries: number, askedMs: number, maxMs: number): number {
  return Math.min(maxMs, Math.max(askedMs, 1_000 * 2 ** Math.min(tries - 1, 10)));
}
