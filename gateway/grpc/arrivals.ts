import { constants } from 'node:http2';
import type { Http2Session, ServerHttp2Stream } from 'node:http2';
import { ServerInterceptingCall, status } from '@grpc/grpc-js';
import type {
  Metadata,
  ServerInterceptingCallInterface,
  ServerInterceptor,
  ServerListener,
} from '@grpc/grpc-js';
import type { BodyBudget } from '../front/body-budget.ts';
import { HeadMemo } from '../front/exchange.ts';
import type { Sender } from '../front/exchange.ts';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import { peerOfCall, requestHeaders } from './caller.ts';
import { Departure } from './departure.ts';
import { Inbound } from './inbound.ts';
import type { InboundOptions, InboundOwner } from './inbound.ts';
import { healthMethods } from './schema.ts';
import type { Fields } from './schema.ts';

/**
 * What has come of calls and is not worked on yet. grpc-js keeps a message until it is whole, and a whole one until the
 * client has ended its side or the stream is read on: all of it for as long as the client likes. Here it is counted in
 * the budget of all bodies from its first byte, and has its time. Probes (grpc.health.v1) have a little room of their
 * own on each connection: who fills the budget, or all calls that there may be, does not make the gateway look dead.
 */
export interface ArrivalOptions extends InboundOptions {
  readonly budget: BodyBudget;
  /** Whether nobody is known by a call's metadata and certificate. */
  readonly isStranger: (sender: Sender) => boolean;
  /** Calls of all connections at once, probes apart. */
  readonly callsMax: number;
  /** Time for a whole message; of a call with one message, for that and the end of the client's side. */
  readonly readMs: number;
  /** How long a client may leave its side open after the call's status. */
  readonly lingerMs: number;
  /** Time for a client to take a message of an answer. */
  readonly takeMs: number;
  readonly wheel: TimerWheel;
  readonly onRefused: (method: string, code: status) => void;
}

export const requestsFull = 'The gateway holds as many bytes of requests as it may: try again.';

/** So many of one connection at once; what comes beyond them is a call as any other. */
const probesMax = 8;
/** What one of them may hold. */
const probeBytesMax = 4 * 1_024;
const probePaths = new Set(Object.values(healthMethods).map(({ path }) => path));

export class Arrivals {
  readonly options: ArrivalOptions;
  /** Now; of probes among them. */
  calls = 0;
  probes = 0;
  /** Calls that were refused for a bound; and those whose message did not come in time. */
  refused = 0;
  late = 0;
  /** Calls that were broken off since their client did not take the answer. */
  stalled = 0;
  private readonly waiting = new WeakMap<Fields, () => void>();
  private readonly probesOf = new WeakMap<Http2Session, number>();

  constructor(options: ArrivalOptions) {
    this.options = options;
  }

  /** For the server's `interceptors`. */
  readonly intercept: ServerInterceptor = ({ path, requestStream }, call) => {
    const arrival = new Arrival(this, call, path, requestStream);
    const isRefused = !arrival.isProbe && this.calls - this.probes > this.options.callsMax;
    return new ServerInterceptingCall(call, {
      start: (next) => {
        if (isRefused) {
          arrival.refuse(status.RESOURCE_EXHAUSTED, 'The gateway serves as many calls as it may: try again.');
        } else next(this.listener(arrival, requestStream));
      },
      sendMessage: (message, next) => {
        arrival.beforeAnswer();
        next(message);
      },
    });
  };

  /** A message of a stream is worked on now, and no longer counted here. */
  begin(message: Fields): void {
    this.waiting.get(message)?.();
    this.waiting.delete(message);
  }

  /** @returns whose probe it is, until `endProbe`; null when it is a call as any other */
  beginProbe(path: string, { session }: ServerHttp2Stream): Http2Session | null {
    if (session === undefined || !probePaths.has(path)) return null;
    const before = this.probesOf.get(session) ?? 0;
    if (before >= probesMax) return null;
    this.probesOf.set(session, before + 1);
    this.probes += 1;
    return session;
  }

  endProbe(session: Http2Session): void {
    this.probesOf.set(session, (this.probesOf.get(session) ?? 1) - 1);
    this.probes -= 1;
  }

  private listener(arrival: Arrival, isStream: boolean): ServerListener {
    return {
      onReceiveMetadata: (metadata, next) => {
        arrival.begin(metadata);
        next(metadata);
      },
      onReceiveMessage: (message: Fields, next) => {
        const bytes = arrival.nextCost();
        if (isStream) {
          this.waiting.set(message, () => {
            arrival.give(bytes);
          });
        }
        next(message);
      },
      onReceiveHalfClose: (next) => {
        if (!isStream) arrival.finish();
        next();
      },
    };
  }
}

class Arrival extends Timed implements InboundOwner {
  private readonly all: Arrivals;
  private readonly call: ServerInterceptingCallInterface;
  private readonly stream: ServerHttp2Stream;
  private readonly method: string;
  private readonly isStream: boolean;
  private readonly prober: Http2Session | null;
  private readonly inbound: Inbound;
  private readonly departure: Departure;
  private held = 0;
  private isStranger = true;
  private hasStatus = false;
  private isTiming = false;

  constructor(all: Arrivals, call: ServerInterceptingCallInterface, path: string, isStream: boolean) {
    super();
    this.all = all;
    this.call = call;
    this.stream = streamOf(call);
    this.method = path.slice(path.lastIndexOf('/') + 1);
    this.isStream = isStream;
    this.prober = all.beginProbe(path, this.stream);
    this.inbound = new Inbound(this.stream, this, all.options);
    const { wheel, takeMs } = all.options;
    this.departure = new Departure(this.stream, { wheel, takeMs, onStall: () => (all.stalled += 1) });
    this.watch();
  }

  get isProbe(): boolean {
    return this.prober !== null;
  }

  /** Its status was sent: what still comes is thrown away. */
  get isOver(): boolean {
    return this.hasStatus || this.stream.writableEnded;
  }

  /** Its metadata is there, and nothing else yet. */
  begin(metadata: Metadata): void {
    const { call, all } = this;
    const headers = requestHeaders(call, metadata);
    this.isStranger = all.options.isStranger({ headers, peer: peerOfCall(call), memo: new HeadMemo() });
  }

  onTimeout(): void {
    const { stream } = this;
    if (this.isOver) {
      stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
      return;
    }
    this.all.late += 1;
    this.end(status.DEADLINE_EXCEEDED, 'The message did not come in time.');
  }

  refuse(code: status, details: string): void {
    this.all.refused += 1;
    this.end(code, details);
  }

  fail(code: status, details: string): void {
    this.end(code, details);
  }

  /** A message of the answer is to be written. */
  beforeAnswer(): void {
    this.departure.beforeWrite();
  }

  /** @returns what is held for the message that goes on now */
  nextCost(): number {
    return this.inbound.nextCost();
  }

  take(bytes: number): boolean {
    const { isProbe } = this;
    if (isProbe ? this.held + bytes <= probeBytesMax : this.all.options.budget.take(bytes, this.isStranger)) {
      this.held += bytes;
      return true;
    }
    this.refuse(status.RESOURCE_EXHAUSTED, isProbe ? 'No probe is as large as this.' : requestsFull);
    return false;
  }

  give(bytes: number): void {
    const given = Math.min(bytes, this.held); // nothing is left when the stream is closed already
    this.held -= given;
    if (!this.isProbe) this.all.options.budget.give(given, this.isStranger);
  }

  /** A stream may be silent between its messages, and not within one. */
  moved(isAnyWhole: boolean): void {
    if (!this.isStream) return;
    const { wheel, readMs } = this.all.options;
    const { isInside } = this.inbound;
    if (!isInside) wheel.disarm(this);
    else if (isAnyWhole || !this.isTiming) wheel.arm(this, readMs);
    this.isTiming = isInside;
  }

  /** All has come, and is worked on now. */
  finish(): void {
    this.give(this.held);
    this.all.options.wheel.remove(this);
  }

  private watch(): void {
    const { all, stream } = this;
    const { wheel, readMs, lingerMs } = all.options;
    all.calls += 1;
    if (!this.isStream) wheel.arm(this, readMs);
    stream.on('data', (chunk: Buffer) => {
      this.inbound.add(chunk);
    });
    stream.once('finish', () => {
      if (!stream.readableEnded) wheel.arm(this, lingerMs);
    });
    stream.once('close', () => {
      all.calls -= 1;
      if (this.prober !== null) all.endProbe(this.prober);
      this.hasStatus = true;
      this.finish();
    });
  }

  private end(code: status, details: string): void {
    const { all, stream } = this;
    this.hasStatus = true;
    all.options.onRefused(this.method, code);
    const isStatusAlone = !stream.headersSent;
    this.call.sendStatus({ code, details, metadata: null });
    all.options.wheel.arm(this, all.options.lingerMs);
    // What is not written yet when a stream is closed never is: a status alone is by the next turn. Trailers come after
    // all that the client has to take first; those streams wait for the timer.
    if (isStatusAlone)
      setImmediate(() => {
        stream.close(constants.NGHTTP2_NO_ERROR);
      });
  }
}

/** grpc-js shows the stream of a call to nobody, and bounds nothing of it. @throws when another version has none */
function streamOf(call: ServerInterceptingCallInterface): ServerHttp2Stream {
  const { stream } = call as { readonly stream?: ServerHttp2Stream };
  if (stream === undefined) throw new Error('grpc-js has no stream in its calls');
  return stream;
}
