import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks'; // the global one is looked up and got at each use
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Access } from './access/access.ts';
import { Admission } from './admission/admission.ts';
import { Batcher } from './batcher/batcher.ts';
import { CacheStep } from './cache/cache-step.ts';
import { embeddingCaller } from './cache/embedding-caller.ts';
import { siblings } from './cache/siblings.ts';
import { ChainCallers } from './chain/chain-callers.ts';
import { ControlLink } from './control-proxy/control-link.ts';
import { InternalCaller } from './control-proxy/internal-caller.ts';
import { DataPath } from './data-path.ts';
import { Resilience } from './forward/resilience.ts';
import { buildFront } from './front/front.ts';
import type { Exchange, Sender } from './front/exchange.ts';
import { askInternally } from './front/internal-exchange.ts';
import type { TlsOptions } from './front/tls-files.ts';
import { grpcUpstreams, isGrpcAddress } from './grpc/grpc-upstream.ts';
import type { GatewayLimits } from './limits.ts';
import { ModelRouting } from './model-route/model-routes.ts';
import { AccessLog } from './observe/access-log.ts';
import { registerLogMetrics } from './observe/log-metrics.ts';
import { GatewayMetrics } from './observe/metrics.ts';
import { registerPickMetrics } from './observe/pick-metrics.ts';
import { registerUpstreamMetrics } from './observe/upstream-metrics.ts';
import { StoredResponses, pinnedPicker } from './openai/stored-responses.ts';
import { PayloadLog } from './payload-log/payload-log.ts';
import { Peers } from './peers/peers.ts';
import { PrefixPicker } from './pick/prefix-picker.ts';
import { registerRedisMetrics } from './redis/redis-metrics.ts';
import type { SharedRedis } from './redis/shared-redis.ts';
import { TableStore } from './route-table/table-store.ts';
import type { Step } from './step.ts';
import { TurnWrites } from './turn-writes.ts';
import { Endpoints } from './upstream/endpoints.ts';
import { socketUpstreams } from './upstream/socket/socket-upstream.ts';
import type { UpstreamTls } from './upstream/socket/socket-upstream.ts';
import { SocketStats } from './upstream/socket/stats.ts';
import { undiciUpstreams } from './upstream/undici-upstream.ts';
import type { Connect } from './upstream/upstream.ts';
import { Accounting } from './usage/accounting.ts';
import type { AccountingOptions } from './usage/accounting.ts';

/** Everything that a gateway is, without a port and without a control API: tests build it and feed it a table. */
export interface Gateway {
  readonly app: FastifyInstance;
  readonly store: TableStore;
  readonly endpoints: Endpoints;
  readonly metrics: GatewayMetrics;
  readonly control: ControlLink;
  /** For requests that come another way than by the HTTP port. */
  readonly handle: (exchange: Exchange) => void;
  /** Whether nobody is known by this: what comes of strangers shares a part of the memory. */
  readonly isStranger: (sender: Sender) => boolean;
  readonly accounting: Accounting;
  /** From now on each response ends its connection, and readiness says no. */
  drain(): void;
  /** When the last request is over: sends what still waits to be sent, for a moment. */
  finish(): Promise<void>;
}

export interface GatewayDeps {
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  /** Muster's version, for GET /v2. */
  readonly version: string;
  /** What HTTP servers are asked with; our own client when absent. */
  readonly client?: 'own' | 'undici';
  /** In place of both: a test's. */
  readonly connect?: Connect;
  /** For tests: bytes of servers are overwritten once they were handed on (upstream/socket/socket-upstream.ts). */
  readonly isScribbling?: boolean;
  /** For servers with https addresses. */
  readonly upstreamTls?: () => UpstreamTls;
  /** Null or absent: this gateway stands alone. */
  readonly redis?: SharedRedis | null;
  /** Absent: it counts in memory, under a name of its own. */
  readonly accounting?: AccountingOptions;
  /** Of this gateway: each is one of so many; absent: it is the only one. */
  readonly processes?: number;
  readonly tls?: TlsOptions;
  /** False: node's parser reads every request (front/front.ts). */
  readonly isLean?: boolean;
  readonly chance?: () => number;
  /** How long lines of the access log are gathered; 0 or absent: not at all. */
  readonly accessLogEveryMs?: number;
  /** Date.now, where a test does not set the time that cached answers go by. */
  readonly wallMs?: () => number;
  /** Built to be thrown away (warm-up.ts): it leaves nothing behind in the process. */
  readonly isRehearsal?: boolean;
}

export function buildGateway(deps: GatewayDeps): Gateway {
  const { limits, logger } = deps;
  let isDraining = false;
  const sockets = new SocketStats();
  const writes = new TurnWrites();
  const endpoints = new Endpoints(deps.connect ?? connectWith(deps, sockets, writes));
  const store: TableStore = new TableStore({ endpoints, logger, metrics: () => metrics, now: Date.now });
  const isAlive = (key: string): boolean => store.current()?.byKey.has(key) === true;
  const metrics = new GatewayMetrics(isAlive, Date.now, deps.isRehearsal === true);
  registerUpstreamMetrics(metrics.registry, sockets);
  const redis = deps.redis ?? null;
  if (redis !== null) registerRedisMetrics(metrics.registry, redis);
  const chance = deps.chance ?? Math.random;
  // The one place that says which steps there are, and their order.
  const admission = new Admission({
    registry: metrics.registry,
    routes: () => store.current(),
    nowMs: () => performance.now(),
    processes: deps.processes ?? 1,
  });
  const modelRoutes = new ModelRouting({
    registry: metrics.registry,
    routes: () => store.current(),
    loadOf: (key) => admission.loadOf(key),
    homeOf: (passage) => stored.homeOf(passage),
    wake: () => control.wake(),
    nowMs: () => performance.now(),
    logger,
  });
  const accounting = new Accounting(
    { redis, registry: metrics.registry, isAlive, now: Date.now, nowMs: () => performance.now() },
    deps.accounting,
  );
  const control = new ControlLink();
  const resilience = new Resilience({
    registry: metrics.registry,
    logger,
    routes: () => store.current(),
    endpoints,
    control,
    nowMs: () => performance.now(),
    chance,
  });
  const batcher = new Batcher({ registry: metrics.registry, nowMs: () => performance.now() });
  const payloadLog = new PayloadLog({ registry: metrics.registry, logger, now: Date.now });
  const accessLog = new AccessLog(logger, Date.now, deps.accessLogEveryMs);
  registerLogMetrics(metrics.registry, accessLog);
  const picker = new PrefixPicker(chance);
  registerPickMetrics(metrics.registry, picker.counts, () => endpoints.all());
  if (redis !== null) joinPeers(redis, endpoints, metrics, picker);
  store.onApplied((table, policy) => {
    picker.apply(policy.pick);
    accessLog.apply(policy.accessLog);
    payloadLog.apply(table, policy.payloadLog);
    batcher.apply(table);
    accounting.use(policy);
    cache.use(table, policy);
    access.apply(policy.access);
    admission.apply(policy.qos);
    modelRoutes.apply(policy.models);
    resilience.use(policy.resilience, table); // last: it lets go of those who waited for this table
  });
  const chains = new ChainCallers(() => store.current());
  const access = new Access({
    limits,
    logger,
    registry: metrics.registry,
    now: Date.now,
    nowMs: () => performance.now(),
  });
  const internal = new InternalCaller(control, (caller) =>
    store.current() === null ? caller : access.present(caller),
  );
  const early: Step[] = [internal, chains, access]; // who asks
  const stored = new StoredResponses(metrics.registry);
  const cache: CacheStep = new CacheStep({
    redis,
    siblings: deps.isRehearsal === true ? null : siblings(),
    ask: (request, bytesMax, signal) =>
      askInternally(
        (exchange) => {
          dataPath.handle(exchange, embeddingCaller);
        },
        request,
        bytesMax,
        signal,
      ),
    logger,
    nowMs: deps.wallMs ?? Date.now,
    monotonicMs: () => performance.now(),
    chance,
  });
  cache.register(metrics.registry);
  const steps: Step[] = [
    stored,
    payloadLog,
    ...accounting.steps,
    cache,
    batcher,
    resilience.activator,
    admission,
    picker,
  ]; // may it; payload log; budget; cache; batch; wake; queue; pick
  const dataPath: DataPath = new DataPath({
    limits,
    store,
    endpoints,
    metrics,
    accessLog,
    logger,
    version: deps.version,
    isDraining: () => isDraining,
    nowMs: () => performance.now(),
    chance,
    picker: pinnedPicker(picker),
    resilience,
    stored,
    control,
    chains,
    modelRoutes,
    early,
    steps,
    makeRequestId: requestIds(),
  });
  const app = buildFront({
    ...deps,
    writes,
    registry: metrics.registry,
    isDraining: () => isDraining,
    handle: (exchange) => {
      dataPath.handle(exchange);
    },
    refuse: (exchange, refusal) => {
      dataPath.refuseEarly(exchange, refusal);
    },
    isStranger: (exchange) =>
      !chains.knows(exchange) && !internal.knows(exchange) && access.isStranger(exchange),
  });
  return {
    app,
    store,
    endpoints,
    metrics,
    control,
    accounting,
    handle: (exchange) => {
      dataPath.handle(exchange);
    },
    isStranger: (sender) => access.isStranger(sender),
    drain: () => {
      isDraining = true;
      accessLog.stopGathering();
    },
    finish: async () => {
      admission.close();
      await payloadLog.close(limits.finishMs);
    },
  };
}

/** Unlike in all processes, in order within one, and cheap: a random prefix and a counter. */
function requestIds(): () => string {
  const prefix = randomBytes(6).toString('hex');
  let count = 0;
  return () => `${prefix}-${(count += 1).toString(36)}`;
}

function connectWith(deps: GatewayDeps, stats: SocketStats, writes: TurnWrites): Connect {
  const { limits, upstreamTls } = deps;
  const { grpcMessageBytesMax: messageBytesMax, connectMs } = limits;
  const grpc = grpcUpstreams({ messageBytesMax, connectMs, tls: upstreamTls });
  const http =
    deps.client === 'undici'
      ? undiciUpstreams(limits.connectMs, upstreamTls)
      : ownClient(deps, stats, writes);
  return (address) => (isGrpcAddress(address) ? grpc(address) : http(address));
}

function ownClient(deps: GatewayDeps, stats: SocketStats, writes: TurnWrites): Connect {
  const { limits, logger, upstreamTls, isScribbling } = deps;
  return socketUpstreams({
    limits: { connectMs: limits.connectMs },
    stats,
    writes,
    nowMs: () => performance.now(),
    onFault: (err) => {
      logger.error({ err }, 'a request failed inside the gateway after its answer had begun');
    },
    ...(upstreamTls === undefined ? {} : { tls: upstreamTls }),
    isScribbling: isScribbling === true,
  });
}
/** Gateways that share a Redis tell each other where they send what. */
function joinPeers(
  redis: SharedRedis,
  endpoints: Endpoints,
  { registry }: GatewayMetrics,
  picker: PrefixPicker,
): void {
  const peers = new Peers({ redis, endpoints, registry, nowMs: () => performance.now() });
  picker.onLearnt = (endpoint, keys, from, count) => {
    peers.learnt(endpoint, keys, from, count);
  };
  endpoints.onClose(() => {
    peers.close();
  });
}
