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
import type { Exchange } from '../front/exchange.ts';
import { askInternally } from '../front/internal-exchange.ts';
import type { TlsOptions } from '../front/tls-files.ts';
import type { GatewayLimits } from '../limits.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';
import { TlsCertificates } from './certificates.ts';
import { healthService } from './health.ts';
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
  readonly tls?: TlsOptions | undefined;
}

export interface RunningGrpc {
  readonly port: number;
  /** Calls in flight are finished, within the drain limit. */
  stop(): Promise<void>;
}

/** @throws Error with code EADDRINUSE when the port is taken */
export async function startGrpc(options: GrpcOptions): Promise<RunningGrpc> {
  const { limits, logger, handle } = options;
  const bodies = new BodyBudget(limits.bodiesBytesMax);
  const count = registerMetrics(options.registry, bodies);
  setLogVerbosity(logVerbosity.NONE); // it writes plain text between our lines; what matters comes as errors
  const server = new Server({
    'grpc.max_receive_message_length': limits.grpcMessageBytesMax,
    'grpc.max_send_message_length': limits.grpcMessageBytesMax,
    'grpc.max_concurrent_streams': limits.grpcCallsPerConnectionMax,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  const ask: Parameters<typeof inferenceService>[0]['ask'] = (request, signal) =>
    askInternally(handle, request, limits.grpcMessageBytesMax, signal);
  server.addService(
    inferenceMethods,
    inferenceService({
      ask,
      take: (bytes) => bodies.take(bytes),
      give: (bytes) => {
        bodies.give(bytes);
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
  server.addService(healthMethods, healthService({ isReady, everyMs: 1_000 }));
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const port = await bind(server, `${host}:${options.port}`, credentialsOf(options));
  return { port, stop: () => shutDown(server, limits.drainMs) };
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port);
      else if (error.message.includes('EADDRINUSE'))
        reject(
          Object.assign(new Error(error.message), {
            code: 'EADDRINUSE',
            port: Number(address.split(':').at(-1)),
          }),
        );
      else reject(error);
    });
  });
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

async function shutDown(server: Server, drainMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, drainMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function registerMetrics(registry: Registry, bodies: BodyBudget): (method: string, code: status) => void {
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
  plainMetrics(registry, 'muster_gateway_grpc_').gauge(
    'request_bytes',
    'Bytes of gRPC requests that are being served',
    () => bodies.bytes,
  );
  return (method, code) => {
    const byCode = calls.get(method) ?? new Map<status, number>();
    calls.set(method, byCode);
    byCode.set(code, (byCode.get(code) ?? 0) + 1);
  };
}
