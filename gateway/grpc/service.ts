import { once } from 'node:events';
import { Metadata, status } from '@grpc/grpc-js';
import type {
  ServerDuplexStream,
  ServerUnaryCall,
  UntypedServiceImplementation,
  sendUnaryData,
} from '@grpc/grpc-js';
import { MusterError } from '../../domain/errors.ts';
import { HeadMemo } from '../front/exchange.ts';
import type { Sender } from '../front/exchange.ts';
import { AnswerTooLarge } from '../front/internal-exchange.ts';
import type { InternalAnswer, InternalRequest } from '../front/internal-exchange.ts';
import { isLoopback } from '../front/peer.ts';
import { requestsFull } from './arrivals.ts';
import { peerOfCall, requestHeaders } from './caller.ts';
import type { Fields } from './schema.ts';
import { codeOf } from './status.ts';
import { inferResponse, readInferRequest, restRequest } from './translate.ts';
import type { GrpcInfer } from './translate.ts';

/**
 * inference.GRPCInferenceService: each call becomes the REST request that means the same and takes the whole way of
 * any other (who asks, queue, budget, cache, servers, further tries), and its answer becomes the message. So there is
 * one set of rules for both protocols, whatever the servers speak.
 */
export interface ServiceDeps {
  /** @throws when the answer is cut or too large, or `signal` fires */
  readonly ask: (request: InternalRequest, signal: AbortSignal) => Promise<InternalAnswer>;
  /** Reserves memory for a message until its answer is there; false: there is none left. */
  readonly take: (bytes: number, isStranger: boolean) => boolean;
  readonly give: (bytes: number, isStranger: boolean) => void;
  readonly isStranger: (sender: Sender) => boolean;
  /** A message of a stream is worked on from now: what it held while it waited is free. */
  readonly onBegin: (request: Fields) => void;
  readonly onCall: (method: string, code: status) => void;
  readonly logError: (error: unknown, method: string) => void;
  /** Requests of one stream that are worked on at once. */
  readonly streamWidth: number;
}

type Unary = ServerUnaryCall<Fields, Fields>;
type Duplex = ServerDuplexStream<Fields, Fields>;

/** What a call's answer is made of. */
interface Reply {
  readonly fields: Fields;
  readonly answer: InternalAnswer;
}

type Work = (request: Fields, ask: Ask) => Promise<Reply>;
type Ask = (method: string, path: string, body?: RestBody) => Promise<InternalAnswer>;

interface RestBody {
  readonly bytes: Uint8Array;
  readonly contentType: string;
  readonly headerLength?: number | undefined;
}

/** A refusal as gRPC says it. Its words may be a server's: half a surrogate pair, at which grpc-js throws, is U+FFFD. */
class CallError extends Error {
  readonly code: status;
  readonly metadata: Metadata;

  constructor(code: status, message: string, metadata = new Metadata()) {
    super(Buffer.from(message).toString());
    this.code = code;
    this.metadata = metadata;
  }
}

export function inferenceService(deps: ServiceDeps): UntypedServiceImplementation {
  const unary = Object.fromEntries(
    Object.entries(works).map(([name, work]) => [
      name,
      (call: Unary, callback: sendUnaryData<Fields>) => {
        answerUnary(deps, name, work, call, callback).catch((error: unknown) => {
          deps.logError(error, name);
        });
      },
    ]),
  );
  return {
    ...unary,
    ModelStreamInfer: (call: Duplex) => {
      new InferStream(deps, call).start();
    },
  };
}

const model = (name: unknown, version: unknown = ''): string => {
  const segment = encodeURIComponent(String(name));
  return version === '' ? segment : `${segment}/versions/${encodeURIComponent(String(version))}`;
};

const works: Readonly<Record<string, Work>> = {
  ServerLive: async (_request, ask) => {
    const answer = whole(await ask('GET', '/v2/health/live'));
    return { answer, fields: { live: json(answer)['live'] === true } };
  },
  ServerReady: async (_request, ask) => {
    const answer = await ask('GET', '/v2/health/ready');
    return { answer, fields: { ready: isReady(answer) } };
  },
  ModelReady: async ({ name, version }, ask) => {
    const answer = await ask('GET', `/v2/models/${model(name, version)}/ready`);
    return { answer, fields: { ready: isReady(answer) } };
  },
  ServerMetadata: async (_request, ask) => {
    const answer = whole(await ask('GET', '/v2'));
    return { answer, fields: json(answer) };
  },
  ModelMetadata: async ({ name, version }, ask) => {
    const answer = whole(await ask('GET', `/v2/models/${model(name, version)}`));
    return { answer, fields: { ...json(answer), versions: json(answer)['versions'] ?? [] } };
  },
  ModelInfer: async (request, ask) => infer(readInferRequest(request), ask),
  RepositoryIndex: async ({ ready }, ask) => {
    const bytes = Buffer.from(JSON.stringify({ ready }));
    const answer = whole(
      await ask('POST', '/v2/repository/index', { bytes, contentType: 'application/json' }),
    );
    return { answer, fields: { models: JSON.parse(answer.body.toString()) as unknown } };
  },
  RepositoryModelLoad: async (request, ask) => {
    const name = repositoryModel(request);
    const answer = whole(await ask('POST', `/v2/repository/models/${model(name)}/load`));
    return { answer, fields: { model_name: name, isLoaded: true } };
  },
  RepositoryModelUnload: async (request, ask) => {
    const name = repositoryModel(request);
    const answer = whole(await ask('POST', `/v2/repository/models/${model(name)}/unload`));
    return { answer, fields: { model_name: name, isUnloaded: true } };
  },
};

async function infer(asked: GrpcInfer, ask: Ask): Promise<Reply> {
  if (asked.model === '') throw new CallError(status.INVALID_ARGUMENT, 'The request names no model.');
  const { body: bytes, contentType, headerLength } = restRequest(asked);
  const path = `/v2/models/${model(asked.model, asked.version)}/infer`;
  const answer = whole(await ask('POST', path, { bytes, contentType, headerLength }));
  const wire = {
    body: answer.body,
    headerLength: answer.headers['inference-header-content-length'],
    contentType: answer.headers['content-type'],
  };
  try {
    return { answer, fields: inferResponse(wire, asked) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CallError(status.INTERNAL, `The server's answer cannot be said in gRPC: ${why}`);
  }
}

/** KServe names the model in field 1, Triton in field 2. */
function repositoryModel({ first, model_name: second }: Fields): string {
  return String(second === '' ? first : second);
}

async function answerUnary(
  deps: ServiceDeps,
  method: string,
  work: Work,
  call: Unary,
  callback: sendUnaryData<Fields>,
): Promise<void> {
  const leaving = new AbortController();
  call.on('cancelled', () => {
    leaving.abort(new CallError(status.CANCELLED, 'The call was cancelled.'));
  });
  try {
    const { fields, answer } = await work(call.request, asking(deps, call, leaving.signal));
    call.sendMetadata(answerMetadata(answer));
    deps.onCall(method, status.OK);
    callback(null, fields);
  } catch (error) {
    const { code, message, metadata } = callError(deps, method, error);
    deps.onCall(method, code);
    callback({ code, details: message, metadata });
  }
}

/** Requests go in as they come, a few at once; answers go out in the same order. */
class InferStream {
  private readonly deps: ServiceDeps;
  private readonly call: Duplex;
  private readonly ask: Ask;
  private readonly leaving = new AbortController();
  private readonly answers: Promise<Fields>[] = [];
  private isSending = false;
  private isEnding = false;

  constructor(deps: ServiceDeps, call: Duplex) {
    this.deps = deps;
    this.call = call;
    this.ask = asking(deps, call, this.leaving.signal);
  }

  start(): void {
    const { call } = this;
    call.on('data', (request: Fields) => {
      this.deps.onBegin(request);
      this.answers.push(this.answer(request));
      if (this.answers.length >= this.deps.streamWidth) call.pause();
      void this.send();
    });
    call.on('end', () => {
      this.isEnding = true;
      void this.send();
    });
    const leave = () => {
      this.leaving.abort(new CallError(status.CANCELLED, 'The call was cancelled.'));
    };
    call.on('cancelled', leave);
    call.on('error', leave);
  }

  private async send(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    const { call, answers } = this;
    for (let next = answers[0]; next !== undefined; next = answers[0]) {
      const fields = await next;
      void answers.shift();
      if (this.leaving.signal.aborted) return;
      if (!call.write(fields)) await drained(call, this.leaving.signal);
      call.resume();
    }
    this.isSending = false;
    if (this.isEnding) call.end();
  }

  /** A request that fails is told in its place, and the stream goes on. */
  private async answer(request: Fields): Promise<Fields> {
    const method = 'ModelStreamInfer';
    try {
      const { fields } = await infer(readInferRequest(request), this.ask);
      this.deps.onCall(method, status.OK);
      return { error_message: '', infer_response: fields };
    } catch (error) {
      const { code, message } = callError(this.deps, method, error);
      this.deps.onCall(method, code);
      const { id, model_name } = request;
      return { error_message: message, infer_response: { id, model_name } };
    }
  }
}

/** Until the client takes more, or is gone: also when it was gone before. */
async function drained(call: Duplex, signal: AbortSignal): Promise<void> {
  await once(call, 'drain', { signal }).catch(() => undefined);
}

function asking(deps: ServiceDeps, call: Unary | Duplex, signal: AbortSignal): Ask {
  const headers = requestHeaders(call, call.metadata);
  const isLocal = isLoopback(
    call
      .getPeer()
      .replace(/:\d+$/, '')
      .replace(/^\[|\]$/g, ''),
  );
  const peer = peerOfCall(call);
  return async (method, path, rest) => {
    // Asked for each message of a stream: a token is known once the first one was served.
    const isStranger = deps.isStranger({ headers, peer, memo: new HeadMemo() });
    const bytes =
      rest === undefined
        ? null
        : Buffer.from(rest.bytes.buffer, rest.bytes.byteOffset, rest.bytes.byteLength);
    const held = bytes?.length ?? 0;
    if (!deps.take(held, isStranger)) throw new CallError(status.RESOURCE_EXHAUSTED, requestsFull);
    try {
      const own = rest === undefined ? headers : { ...headers, ...bodyHeaders(rest) };
      return await deps.ask({ method, path, headers: own, body: bytes, isLocal, peer }, signal);
    } catch (error) {
      if (error instanceof CallError) throw error; // the caller left
      if (error instanceof AnswerTooLarge)
        throw new CallError(status.RESOURCE_EXHAUSTED, `No message may be so large: ${error.message}.`);
      throw new CallError(status.UNAVAILABLE, `The answer was lost: ${String(error)}.`);
    } finally {
      deps.give(held, isStranger);
    }
  };
}

function bodyHeaders({ bytes, contentType, headerLength }: RestBody): Record<string, string> {
  return {
    'content-type': contentType,
    'content-length': String(bytes.byteLength),
    ...(headerLength === undefined ? {} : { 'inference-header-content-length': String(headerLength) }),
  };
}

/** What the gateway itself says beside an answer: the request's id, usage, cost. */
function answerMetadata({ headers }: InternalAnswer): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) {
    if (name === 'x-request-id' || name === 'retry-after' || name.startsWith('x-muster-'))
      metadata.set(name, value);
  }
  return metadata;
}

/** @throws CallError for any answer that is not 200 */
function whole(answer: InternalAnswer): InternalAnswer {
  if (answer.status === 200) return answer;
  throw new CallError(codeOf(answer.status), errorText(answer), answerMetadata(answer));
}

/** 503 of a known model or of this server is an answer, not an error. */
function isReady(answer: InternalAnswer): boolean {
  if (answer.status === 503) return false;
  const { ready } = json(whole(answer));
  return ready !== false;
}

function errorText({ status: httpStatus, body }: InternalAnswer): string {
  const text = body.toString();
  try {
    const { error, detail } = JSON.parse(text) as { error?: unknown; detail?: unknown };
    if (typeof error === 'string') return error;
    const { message } = (error ?? {}) as { message?: unknown };
    if (typeof message === 'string') return message;
    if (detail !== undefined) return JSON.stringify(detail).slice(0, 1_000);
  } catch {
    // not JSON: its own words
  }
  return text === '' ? `The server answered ${httpStatus}.` : text.slice(0, 1_000);
}

function json({ body }: InternalAnswer): Fields {
  if (body.length === 0) return {};
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Fields) : {};
  } catch {
    return {};
  }
}

function callError(deps: ServiceDeps, method: string, error: unknown): CallError {
  if (error instanceof CallError) return error;
  if (error instanceof MusterError && error.code === 'invalid_input')
    return new CallError(status.INVALID_ARGUMENT, error.message);
  deps.logError(error, method);
  return new CallError(status.INTERNAL, 'The gateway failed; its log says why.');
}
