import {
  Server,
  ServerCredentials,
  experimental,
  logVerbosity,
  setLogVerbosity,
  status,
} from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import { BodyBudget } from '../front/body-budget.ts';
import type { Exchange, Sender } from '../front/exchange.ts';
import { askInternally } from '../front/internal-exchange.ts';
import type { TlsOptions } from '../front/tls-files.ts';
import type { GatewayLimits } from '../limits.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import { TimerWheel } from '../timer-wheel.ts';
import { Arrivals } from './arrivals.ts';
import { TlsCertificates } from './certificates.ts';
import { healthService } from './health.ts';
import { Inflater } from './inflater.ts';
import { GrpcListener } from './listener.ts';
import { healthMethods, inferenceMethods } from './schema.ts';
import { inferenceService } from './service.ts';

/** The gRPC front: a port of its own, in front of the same data path as HTTP. */
export interface GrpcOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly handle: (exchange: Exchange) => void;
  readonly isStranger: (sender: Sender) => boolean;
  readonly tls?: TlsOptions | undefined;
}

export interface RunningGrpc {
  readonly port: number;
  /** Calls in flight are finished, within the drain limit. */
  stop(): Promise<void>;
}

/** @throws Error with code EADDRINUSE when the port is taken */
export async function startGrpc(options: GrpcOptions): Promise<RunningGrpc> {
  const { limits, logger, handle, isStranger } = options;
  const bodies = new BodyBudget(limits.bodiesBytesMax, limits.strangersBytesMax);
  const inflater = new Inflater(limits.grpcMessageBytesMax);
  const count = registerCalls(options.registry);
  const arrivals = new Arrivals({
    budget: bodies,
    isStranger,
    inflater,
    messageBytesMax: limits.grpcMessageBytesMax,
    callsMax: limits.grpcCallsMax,
    readMs: limits.requestReadMs,
    lingerMs: limits.lingerMs,
    takeMs: limits.clientStallMs,
    wheel: new TimerWheel(() => performance.now()),
    onRefused: count,
  });
  setLogVerbosity(logVerbosity.NONE); // it writes plain text between our lines; what matters comes as errors
  const server = new Server({
    'grpc.max_receive_message_length': limits.grpcMessageBytesMax,
    'grpc.max_send_message_length': limits.grpcMessageBytesMax,
    'grpc.max_concurrent_streams': limits.grpcCallsPerConnectionMax,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.keepalive_timeout_ms': 20_000,
    interceptors: [arrivals.intercept],
  });
  const ask: Parameters<typeof inferenceService>[0]['ask'] = (request, signal) =>
    askInternally(handle, request, limits.grpcMessageBytesMax, signal);
  server.addService(
    inferenceMethods,
    inferenceService({
      ask,
      take: (bytes, isStrange) => bodies.take(bytes, isStrange),
      give: (bytes, isStrange) => {
        bodies.give(bytes, isStrange);
      },
      isStranger,
      onBegin: (message) => {
        arrivals.begin(message);
      },
      onCall: count,
      logError: (error, method) => {
        logger.error({ err: error, method }, 'a gRPC call failed inside the gateway');
      },
      streamWidth: limits.grpcStreamWidth,
    }),
  );
  const isReady = async () => {
    const request = { method: 'GET', path: '/v2/health/ready', headers: {}, body: null };
    return (await ask(request, new AbortController().signal)).status === 200;
  };
  const health = healthService({ isReady, everyMs: 1_000 });
  server.addService(healthMethods, health.implementation);
  const injector = server.createConnectionInjector(credentialsOf(options));
  const listener = new GrpcListener({
    connectionsMax: limits.grpcConnectionsMax,
    onConnection: (socket) => {
      injector.injectConnection(socket);
    },
  });
  registerBounds(options.registry, { bodies, arrivals, inflater, listener });
  const port = await listener.listen(options.host, options.port);
  const stop = () => {
    health.stop();
    return shutDown(server, listener, limits.drainMs);
  };
  return { port, stop };
}

/** The same files as HTTP's; renewed ones are taken without a restart. @throws when they cannot be used */
function credentialsOf({ tls, logger }: GrpcOptions): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const certificates = new TlsCertificates(tls, (err) => {
    logger.error({ err }, 'new TLS files cannot be used for gRPC; the old ones stay');
  });
  // grpc-js does not tell whether a certificate was verified. So clients are asked for one only where those without
  // a good one get no connection; optional certificates are HTTP's alone.
  const isRequired = tls.requireClientCertificate ?? false;
  const authority = isRequired ? certificates : null;
  return experimental.createCertificateProviderServerCredentials(certificates, authority, isRequired);
}

async function shutDown(server: Server, listener: GrpcListener, drainMs: number): Promise<void> {
  const timer = setTimeout(() => {
    server.forceShutdown();
    listener.destroy();
  }, drainMs);
  const closed = listener.close();
  // It tells too early that all is over: it knows nothing of the connections.
  server.tryShutdown(() => undefined);
  await closed;
  clearTimeout(timer);
}

function registerCalls(registry: Registry): (method: string, code: status) => void {
  const calls = new Map<string, Map<status, number>>();
  new Counter({
    name: 'muster_gateway_grpc_calls_total',
    help: 'gRPC calls, and requests of gRPC streams, by outcome',
    labelNames: ['method', 'code'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [method, byCode] of calls) {
        for (const [code, total] of byCode) this.inc({ method, code: status[code] }, total);
      }
    },
  });
  return (method, code) => {
    const byCode = calls.get(method) ?? new Map<status, number>();
    calls.set(method, byCode);
    byCode.set(code, (byCode.get(code) ?? 0) + 1);
  };
}

interface Bounded {
  readonly bodies: BodyBudget;
  readonly arrivals: Arrivals;
  readonly inflater: Inflater;
  readonly listener: GrpcListener;
}

function registerBounds(registry: Registry, { bodies, arrivals, inflater, listener }: Bounded): void {
  const { gauge, counter } = plainMetrics(registry, 'muster_gateway_grpc_');
  gauge('request_bytes', 'Bytes of gRPC requests that arrive or are being served', () => bodies.bytes);
  gauge('inflating', 'Compressed messages that wait or are being unpacked', () => inflater.size);
  gauge('connections', 'Connections of gRPC clients', () => listener.connections);
  gauge('calls', 'gRPC calls, those that are still arriving among them', () => arrivals.calls);
  counter(
    'connections_dropped_total',
    'Connections that were closed at once: there were too many',
    () => listener.dropped,
  );
  counter(
    'calls_refused_total',
    'Calls refused for their number, or for the bytes of all, before they were served',
    () => arrivals.refused,
  );
  counter('calls_late_total', 'Calls whose message did not come in time', () => arrivals.late);
  counter(
    'calls_stalled_total',
    'Calls whose client did not take the answer in time',
    () => arrivals.stalled,
  );
}
