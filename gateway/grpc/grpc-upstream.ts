import { Client, Metadata, credentials, status } from '@grpc/grpc-js';
import type { ChannelCredentials, ServiceError, StatusObject } from '@grpc/grpc-js';
import { MusterError } from '../../domain/errors.ts';
import { TimerWheel } from '../timer-wheel.ts';
import type { UpstreamTls } from '../upstream/socket/socket-upstream.ts';
import type {
  Connect,
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from '../upstream/upstream.ts';
import { allHeaders } from '../upstream/upstream.ts';
import { ConnectLimit } from './connect-limit.ts';
import { planCall } from './rest-call.ts';
import type { RestAnswer } from './rest-call.ts';
import { inferenceMethods } from './schema.ts';
import type { Fields } from './schema.ts';
import { httpStatusOf } from './status.ts';

/**
 * A server that speaks gRPC V2 alone (`grpc://host:port`), behind the interface of all servers: a V2 REST request
 * goes in, the call that means the same goes out, and its answer comes back as REST's. So tries, queues and picks are
 * the same for it. grpc-js's own retries are off: they would be further tries that nobody counts.
 */
export interface GrpcUpstreamOptions {
  readonly messageBytesMax: number;
  /** A call's connection; longer: it counts as refused. */
  readonly connectMs: number;
  /**
   * For grpcs:// addresses; asked for each call, and another secure context makes another client. Default: the
   * system's authorities, no certificate of ours.
   */
  readonly tls?: (() => UpstreamTls) | undefined;
}

export function grpcUpstreams(options: GrpcUpstreamOptions): Connect {
  const wheel = new TimerWheel(() => performance.now());
  return (address) => new GrpcUpstream(address, options, wheel);
}

export function isGrpcAddress(address: string): boolean {
  return address.startsWith('grpc://') || address.startsWith('grpcs://');
}

class GrpcUpstream implements Upstream {
  private readonly address: string;
  private readonly options: GrpcUpstreamOptions;
  private readonly wheel: TimerWheel;
  private secured: SecuredClient;
  private isClosed = false;

  constructor(address: string, options: GrpcUpstreamOptions, wheel: TimerWheel) {
    this.address = address;
    this.options = options;
    this.wheel = wheel;
    this.secured = new SecuredClient(address, options, wheel);
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const state = { isOver: false, cancel: () => undefined as unknown };
    const over = (act: () => void) => {
      if (state.isOver) return;
      state.isOver = true;
      act();
    };
    const secured = this.current();
    secured.begin();
    this.start(secured, request, state, (outcome) => {
      secured.end();
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
    this.isClosed = true;
    this.secured.close();
  }

  /** With the certificates of now; calls on the client of former ones are finished. */
  private current(): SecuredClient {
    const { address, options, wheel } = this;
    if (this.isClosed || !address.startsWith('grpcs://')) return this.secured;
    if (options.tls?.().secureContext !== this.secured.secureContext) {
      this.secured.close();
      this.secured = new SecuredClient(address, options, wheel);
    }
    return this.secured;
  }

  private start(
    { client, connecting }: SecuredClient,
    request: UpstreamRequest,
    state: { cancel: () => unknown },
    done: (outcome: Outcome) => void,
  ): void {
    const plan = attempt(() => planCall(request));
    if (plan.kind === 'answer') {
      // Not at once: nobody expects an answer before `send` has returned.
      setImmediate(done, plan);
      return;
    }
    const { method, fields, answer } = plan.value;
    const definition = inferenceMethods[method];
    if (definition === undefined) throw new Error(`there is no method ${method}`);
    let isHeard = false;
    let isLate = false;
    let connected = (): void => undefined; // the call may end before it is watched
    const call = client.makeUnaryRequest<Fields, Fields>(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
      fields,
      metadataOf(allHeaders(request)),
      { deadline: Date.now() + request.headersMs },
      (error, response) => {
        connected();
        if (error === null && response !== undefined) {
          const made = attempt(() => answer(response));
          done({ kind: 'answer', answer: made.kind === 'answer' ? unreadable(made.answer) : made.value });
        } else if (error !== null) done(isLate ? unconnected : outcomeOf(error, isHeard));
      },
    );
    call.on('metadata', () => {
      isHeard = true;
    });
    connected = connecting.begin(() => {
      isLate = true;
      call.cancel();
    });
    state.cancel = () => {
      call.cancel();
    };
  }
}

/** A client and what it was made with. */
class SecuredClient {
  readonly client: Client;
  readonly connecting: ConnectLimit;
  readonly secureContext: UpstreamTls['secureContext'];
  private inFlight = 0;
  private isClosing = false;

  constructor(address: string, { messageBytesMax, connectMs, tls }: GrpcUpstreamOptions, wheel: TimerWheel) {
    const target = address.slice(address.indexOf('//') + 2);
    const { secureContext, serverName } = tls?.() ?? {};
    this.secureContext = secureContext;
    this.client = new Client(target, credentialsFor(address, secureContext), {
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_http_proxy': 0, // the table alone says where requests go
      ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
    this.connecting = new ConnectLimit(this.client, wheel, connectMs);
  }

  begin(): void {
    this.inFlight += 1;
  }

  end(): void {
    this.inFlight -= 1;
    if (this.isClosing && this.inFlight === 0) this.client.close();
  }

  /** When the calls in flight are over. */
  close(): void {
    this.isClosing = true;
    if (this.inFlight === 0) this.client.close();
  }
}

type Outcome =
  | { readonly kind: 'answer'; readonly answer: RestAnswer }
  | { readonly kind: 'failure'; readonly failure: UpstreamFailure };

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

/** What a request or an answer cannot say in the other form is told as a server would tell it. */
function attempt<T>(
  act: () => T,
): { readonly kind: 'value'; readonly value: T } | { readonly kind: 'answer'; readonly answer: RestAnswer } {
  try {
    return { kind: 'value', value: act() };
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    const httpStatus = error.code === 'not_implemented' ? 501 : 400;
    return { kind: 'answer', answer: errorAnswer(httpStatus, error.message) };
  }
}

function unreadable({ body }: RestAnswer): RestAnswer {
  const { error } = JSON.parse(Buffer.from(body).toString()) as { error: string };
  return errorAnswer(502, `The server's answer cannot be read: ${error}`);
}

function errorAnswer(httpStatus: number, error: string): RestAnswer {
  return {
    status: httpStatus,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ error })),
  };
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
function isFromServer({ metadata }: StatusObject): boolean {
  return Object.keys(metadata.getMap()).length > 0;
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

function credentialsFor(address: string, context: UpstreamTls['secureContext']): ChannelCredentials {
  if (address.startsWith('grpc://')) return credentials.createInsecure();
  return context === undefined ? credentials.createSsl() : credentials.createFromSecureContext(context);
}
