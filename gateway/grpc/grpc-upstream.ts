import { Metadata, status } from '@grpc/grpc-js';
import type { ServiceError, StatusObject } from '@grpc/grpc-js';
import { TimerWheel } from '../timer-wheel.ts';
import type {
  Connect,
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from '../upstream/upstream.ts';
import { allHeaders } from '../upstream/upstream.ts';
import { errorAnswer, planCall } from './rest-call.ts';
import type { Answered } from './rest-call.ts';
import { inferenceMethods } from './schema.ts';
import type { Fields } from './schema.ts';
import { httpStatusOf } from './status.ts';
import { UpstreamClients } from './upstream-clients.ts';
import type { ClientOptions, UpstreamClient } from './upstream-clients.ts';

/**
 * A server that speaks gRPC V2 alone (`grpc://host:port`), behind the interface of all servers: a V2 REST request
 * goes in, the call that means the same goes out, and its answer comes back as REST's. So tries, queues and picks are
 * the same for it. grpc-js's own retries are off: they would be further tries that nobody counts.
 */
export function grpcUpstreams(options: ClientOptions): Connect {
  const wheel = new TimerWheel(() => performance.now());
  return (address) => new GrpcUpstream(address, options, wheel);
}

export function isGrpcAddress(address: string): boolean {
  return address.startsWith('grpc://') || address.startsWith('grpcs://');
}

class GrpcUpstream implements Upstream {
  private readonly clients: UpstreamClients;

  constructor(address: string, options: ClientOptions, wheel: TimerWheel) {
    this.clients = new UpstreamClients(address, options, wheel);
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const state = { isOver: false, cancel: () => undefined as unknown };
    const over = (act: () => void) => {
      if (state.isOver) return;
      state.isOver = true;
      act();
    };
    const client = this.clients.current();
    client.begin();
    this.start(client, request, state, (outcome) => {
      client.end();
      over(() => {
        deliver(outcome, handler);
      });
    });
    return {
      abort: () => {
        over(() => state.cancel());
      },
      // One message at a time comes, and it is here already.
      pause: () => undefined,
      resume: () => undefined,
    };
  }

  close(): void {
    this.clients.close();
  }

  private start(
    used: UpstreamClient,
    request: UpstreamRequest,
    state: { cancel: () => unknown },
    done: (outcome: Outcome) => void,
  ): void {
    const plan = planCall(request);
    if (plan.kind === 'answer') {
      // Not at once: nobody expects an answer before `send` has returned.
      setImmediate(done, plan);
      return;
    }
    const { method, fields, answer } = plan;
    const definition = inferenceMethods[method];
    if (definition === undefined) throw new Error(`there is no method ${method}`);
    let isHeard = false;
    let isLate = false;
    let connected = (): void => undefined; // the call may end before it is watched
    const heardBefore = used.heard;
    const begunMs = performance.now();
    const call = used.client.makeUnaryRequest<Fields, Fields>(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      fields,
      metadataOf(allHeaders(request)),
      { deadline: Date.now() + request.headersMs },
      (error, response) => {
        connected();
        if (error === null || isFromServer(error)) used.heard += 1;
        else if (!isLate) {
          const waitedMs = performance.now() - begunMs;
          const { headersMs } = request;
          this.clients.unheard(used, { code: error.code, waitedMs, headersMs, heardBefore });
        }
        if (error === null && response !== undefined) done({ kind: 'answer', answer: answer(response) });
        else if (error !== null) done(isLate ? unconnected : outcomeOf(error, isHeard));
      },
    );
    call.on('metadata', () => {
      isHeard = true;
      used.heard += 1;
    });
    connected = used.connecting.begin(() => {
      isLate = true;
      call.cancel();
    });
    state.cancel = () => {
      call.cancel();
    };
  }
}

type Outcome = Answered | { readonly kind: 'failure'; readonly failure: UpstreamFailure };

const unconnected: Outcome = {
  kind: 'failure',
  failure: { kind: 'refused', code: 'CONNECT_TIMEOUT', message: 'no connection in time' },
};

function deliver(outcome: Outcome, handler: UpstreamHandler): void {
  if (outcome.kind === 'failure') {
    if (outcome.failure.kind !== 'refused') handler.onSent();
    handler.onFailure(outcome.failure);
    return;
  }
  const { status: httpStatus, headers, body } = outcome.answer;
  handler.onSent();
  handler.onHead(httpStatus, { ...headers, 'content-length': String(body.length) });
  if (body.length > 0) handler.onData(body);
  handler.onEnd();
}

/** @param isHeard the server had begun to answer */
function outcomeOf(error: ServiceError, isHeard: boolean): Outcome {
  const told = readStatus(error);
  if (told === null) {
    const words = 'it is compressed, but its grpc-encoding names neither gzip nor deflate.';
    return { kind: 'answer', answer: errorAnswer(502, `The server's answer cannot be read: ${words}`) };
  }
  const { code, details } = told;
  const isServers = isFromServer(error);
  const isTooLarge = code === status.RESOURCE_EXHAUSTED && !isServers;
  if (isTooLarge && details.startsWith('Received message')) {
    // grpc-js refused the answer itself: that of another server would be as large.
    const words = 'The answer is larger than a message of gRPC may be.';
    return { kind: 'answer', answer: errorAnswer(413, words) };
  }
  if (isHeard || isServers) {
    return { kind: 'answer', answer: errorAnswer(httpStatusOf(code), details) };
  }
  if (isTooLarge && details.startsWith('Attempted to send message')) {
    // grpc-js refused the request itself: no server would do better with it.
    const words = 'The request is larger than a message of gRPC may be.';
    return { kind: 'answer', answer: errorAnswer(413, words) };
  }
  return { kind: 'failure', failure: failureOf(told) };
}

interface Told {
  readonly code: status;
  readonly details: string;
}

/** @returns null where grpc-js has none: it cannot unpack the answer */
function readStatus({ code, details }: Partial<ServiceError>): Told | null {
  return code === undefined ? null : { code, details: details ?? '' };
}

/** A status that came over the wire brings trailers; one that grpc-js made up has none. */
function isFromServer({ metadata }: Partial<StatusObject>): boolean {
  return Object.keys(metadata?.getMap() ?? {}).length > 0;
}

function failureOf({ code, details }: Told): UpstreamFailure {
  const told = { code: status[code], message: details };
  switch (code) {
    case status.DEADLINE_EXCEEDED:
      return { kind: 'timeout', ...told };
    case status.UNIMPLEMENTED: // no gRPC at all
    case status.UNKNOWN:
      return { kind: 'garbage', ...told };
    default: {
      const isRefused = /^(No connection established|Name resolution failed)/.test(details);
      return { kind: isRefused ? 'refused' : 'reset', ...told };
    }
  }
}

/** Authorization is here only where the service is to have it (access/passed-authorization.ts). */
const passedOn = /^(x-|authorization$|traceparent$|tracestate$|baggage$)/;

function metadataOf(headers: readonly string[]): Metadata {
  const metadata = new Metadata();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = (headers[at] ?? '').toLowerCase();
    const value = headers[at + 1] ?? '';
    if (passedOn.test(name) && !name.endsWith('-bin') && /^[\x20-\x7e]*$/.test(value))
      metadata.add(name, value);
  }
  return metadata;
}
