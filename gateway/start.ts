import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { DataFolder } from '../domain/process/data-folder.ts';
import { buildGateway } from './app.ts';
import type { Gateway, GatewayDeps } from './app.ts';
import type { TlsOptions } from './front/tls-files.ts';
import { startGrpc } from './grpc/server.ts';
import type { RunningGrpc } from './grpc/server.ts';
import type { GatewayLimits } from './limits.ts';
import { SharedRedis } from './redis/shared-redis.ts';
import { controlSource } from './route-table/control-source.ts';
import type { ControlSourceOptions } from './route-table/control-source.ts';
import { RoutesFileError, RoutesFileSource } from './route-table/routes-file.ts';
import type { TableSource } from './route-table/table-source.ts';
import { upstreamTls } from './upstream/socket/tls-files.ts';
import type { UpstreamTlsOptions } from './upstream/socket/tls-files.ts';
import { Books } from './usage/books.ts';
import { warmUp } from './warm-up.ts';

/** A whole gateway: first table, port, what follows changes of the table; and the way back out of all of it. */
export interface ServeOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  readonly version: string;
  readonly folder: Pick<DataFolder, 'internalToken' | 'routeTable' | 'budgets' | 'usage'>;
  /** Names this process in books and in the ledger; absent: it stands alone. */
  readonly gatewayId?: string;
  /** Processes of this gateway; 1 when absent. */
  readonly processes?: number;
  /** Absent: no gRPC. */
  readonly grpc?: GrpcPort;
  /** Undefined: plain HTTP and gRPC. */
  readonly tls?: TlsOptions | undefined;
  /** For servers with https and grpcs addresses; undefined: the system's authorities. */
  readonly upstreamTls?: UpstreamTlsOptions | undefined;
  /** Shared with other gateways; undefined: this one stands alone. */
  readonly redisUrl?: string | undefined;
  /** What servers are asked with; our own client when absent. */
  readonly client?: GatewayDeps['client'];
  /** Time for a rehearsal before the port opens (warm-up.ts); 0 or absent: none. */
  readonly warmUpMs?: number;
  /** Aborted: it is not to open its port any more. */
  readonly signal?: AbortSignal;
  /** Before the first table: for what belongs to the process and not to a gateway. */
  readonly onBuilt?: (gateway: Gateway) => void;
}

export interface GrpcPort {
  /** 0: any free port. */
  readonly port: number;
  /** Somebody chose it: without it there is no gateway. A taken default port is a warning. */
  readonly isChosen: boolean;
}

/** Lines of the access log are gathered for so long. */
const accessLogEveryMs = 250;

/** A gateway of the control API's. */
export type GatewayOptions = ServeOptions & Omit<ControlSourceOptions, 'folder' | 'logger'>;

export interface RunningGateway {
  readonly url: string;
  /** Null: no gRPC. */
  readonly grpcPort: number | null;
  /** Finishes what is in flight, within the drain limit, and frees the port. */
  stop(): Promise<void>;
}

export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  return serve(options, ({ store, endpoints, control }) => controlSource(options, store, endpoints, control));
}

/**
 * A gateway that stands alone, with its routes in a file.
 * @throws RoutesFileError when the file cannot be used
 */
export async function startStandalone(
  options: ServeOptions & { readonly routesFile: string },
): Promise<RunningGateway> {
  const { logger } = options;
  return serve(options, ({ store }) => {
    let isFirst = true;
    return new RoutesFileSource({
      path: options.routesFile,
      logger,
      onTable: (table) => {
        if (store.apply(table, -1) === null && isFirst)
          throw new RoutesFileError(`The routes file ${options.routesFile} was refused; the log says why.`);
        isFirst = false;
      },
      onRefused: (why) => store.refuse(why),
    });
  });
}

export async function serve(
  options: ServeOptions,
  makeSource: (gateway: Gateway) => TableSource,
): Promise<RunningGateway> {
  const { limits, logger } = options;
  const redis = options.redisUrl === undefined ? null : new SharedRedis({ url: options.redisUrl, logger });
  const books = await Books.open({
    folder: options.folder,
    gatewayId: options.gatewayId ?? null,
    processes: options.processes ?? 1,
    isShared: redis !== null,
    logger,
  });
  const { accounting } = books;
  const gateway = buildGateway({
    limits,
    logger,
    version: options.version,
    redis,
    accounting,
    processes: options.processes ?? 1,
    accessLogEveryMs,
    ...(options.client === undefined ? {} : { client: options.client }),
    ...tlsDeps(options),
  });
  const { app, endpoints } = gateway;
  options.onBuilt?.(gateway);
  const source = makeSource(gateway);
  await source.first();
  redis?.start();
  await rehearse(options);
  options.signal?.throwIfAborted();
  const url = await app.listen({ host: options.host, port: options.port });
  const grpc = options.grpc === undefined ? null : await startGrpcFront(options, options.grpc, gateway);
  source.follow();
  books.follow(gateway);
  logger.info({ url, grpcPort: grpc?.port ?? null }, 'listening');
  let stopping: Promise<void> | null = null;
  const stop = async () => {
    gateway.drain();
    await Promise.all([drain(app.server, () => app.close(), limits.drainMs, logger), grpc?.stop()]);
    await books.close();
    await source.stop();
    await gateway.finish();
    endpoints.close();
    redis?.close();
  };
  return { url, grpcPort: grpc?.port ?? null, stop: () => (stopping ??= stop()) };
}

/** @throws Error when a file cannot be read or used */
function tlsDeps({
  tls,
  upstreamTls: upstream,
  logger,
}: ServeOptions): Pick<GatewayDeps, 'tls' | 'upstreamTls'> {
  const onRefused = (err: unknown) => {
    logger.error({ err }, 'new TLS files for model servers cannot be used; the old ones stay');
  };
  return {
    ...(tls === undefined ? {} : { tls }),
    ...(upstream === undefined
      ? {}
      : { upstreamTls: upstreamTls(upstream, () => performance.now(), onRefused) }),
  };
}

/** @returns null when the port, which nobody chose, is taken */
async function startGrpcFront(
  { host, limits, logger, tls }: ServeOptions,
  { port, isChosen }: GrpcPort,
  { app, endpoints, metrics, handle, isStranger }: Gateway,
): Promise<RunningGrpc | null> {
  try {
    return await startGrpc({
      ...{ host, port, limits, logger, tls, handle, isStranger },
      registry: metrics.registry,
    });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'EADDRINUSE' && !isChosen) {
      logger.warn({ port }, 'the port of gRPC is in use: gRPC is off (MUSTER_GRPC_PORT moves it)');
      return null;
    }
    await app.close();
    endpoints.close();
    throw error;
  }
}

async function rehearse(options: ServeOptions): Promise<void> {
  const { client, grpc, limits, logger, port, signal, version, warmUpMs: msMax = 0 } = options;
  if (msMax === 0) return;
  const startedMs = performance.now();
  logger.debug({ msMax }, 'rehearsing before the port opens');
  try {
    const mayListenOn = (other: number) => other !== port && other !== grpc?.port;
    const rehearsed = await warmUp({
      limits,
      logger,
      version,
      msMax,
      mayListenOn,
      accessLogEveryMs,
      client,
      signal,
    });
    const told = { ...rehearsed, ms: Math.round(performance.now() - startedMs) };
    if (rehearsed.requests > rehearsed.refused) logger.info(told, 'warm');
    else logger.warn(told, 'the warm-up had no answer; serving begins cold');
  } catch (error) {
    logger.warn({ err: error }, 'the warm-up failed; serving begins cold');
  }
}

/** Kept-alive connections would hold the server open: they are closed as they become idle. */
async function drain(
  server: Server,
  close: () => Promise<unknown>,
  drainMs: number,
  logger: Logger,
): Promise<void> {
  const closed = close();
  const done = new AbortController();
  const sweep = async () => {
    const endMs = performance.now() + drainMs;
    while (!done.signal.aborted && performance.now() < endMs) {
      server.closeIdleConnections();
      await sleep(50, undefined, { signal: done.signal }).catch(() => undefined);
    }
    if (done.signal.aborted) return;
    logger.warn({ drainMs }, 'some requests did not end in time and were broken off');
    server.closeAllConnections();
  };
  const sweeping = sweep();
  await closed;
  done.abort();
  await sweeping;
}
