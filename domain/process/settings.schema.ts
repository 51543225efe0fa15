import { z } from 'zod';

/**
 * The environment variables of all processes, with their defaults. A process reads `process.env` in its main.ts
 * only, parses it here and passes the values on. An empty variable counts as absent.
 */
const port = (fallback: number) => z.coerce.number().int().min(0).max(65535).default(fallback);

const shape = z
  .object({
    /** Folder that holds all state. */
    MUSTER_DATA_DIR: z.string().optional(),
    /** Address that every server of Muster binds. */
    MUSTER_HOST: z.string().default('127.0.0.1'),
    MUSTER_GATEWAY_PORT: port(8080),
    /** gRPC V2. Where nobody chose it and it is taken, the gateway goes without gRPC. */
    MUSTER_GRPC_PORT: port(8081),
    /** Certificate and key with which the gateway serves TLS on both its ports; files, PEM. */
    MUSTER_TLS_CERT: z.string().optional(),
    MUSTER_TLS_KEY: z.string().optional(),
    /** Authority of clients' certificates; without it clients are not asked for one. */
    MUSTER_TLS_CLIENT_CA: z.string().optional(),
    /** `required`: a client without a certificate of that authority gets no connection. */
    MUSTER_TLS_CLIENT_CERT: z.enum(['optional', 'required']).default('optional'),
    /** For model servers with https and grpcs addresses: their authority, our own certificate and key, their name. */
    MUSTER_UPSTREAM_CA: z.string().optional(),
    MUSTER_UPSTREAM_CERT: z.string().optional(),
    MUSTER_UPSTREAM_KEY: z.string().optional(),
    MUSTER_UPSTREAM_SERVER_NAME: z.string().optional(),
    /** Processes of one gateway that share its port. */
    MUSTER_GATEWAY_PROCESSES: z.coerce.number().int().min(1).max(256).default(1),
    /** Longest rehearsal of a gateway before its port opens, milliseconds; 0: none. */
    MUSTER_GATEWAY_WARM_UP_MS: z.coerce.number().int().min(0).max(60_000).default(2_000),
    /** What the gateway asks servers with: our own client, or undici where that should fail somebody. */
    MUSTER_GATEWAY_CLIENT: z.enum(['own', 'undici']).default('own'),
    /** A routes file: the gateway serves from it alone, without a control API. */
    MUSTER_GATEWAY_ROUTES: z.string().optional(),
    MUSTER_API_PORT: port(8090),
    MUSTER_TEMPORAL_PORT: port(7233),
    MUSTER_TEMPORAL_UI_PORT: port(8233),
    /** A Temporal server to use in place of the embedded one, host:port. */
    TEMPORAL_ADDRESS: z.string().optional(),
    TEMPORAL_NAMESPACE: z.string().default('default'),
    /** Where processes reach the control API; default http://<MUSTER_HOST>:<MUSTER_API_PORT>. */
    MUSTER_API_URL: z.url().optional(),
    /** Where users and the CLI reach the gateway; default http://<MUSTER_HOST>:<MUSTER_GATEWAY_PORT>. */
    MUSTER_GATEWAY_URL: z.url().optional(),
    /** Postgres in place of the embedded store. */
    MUSTER_DATABASE_URL: z.string().optional(),
    /** Redis that gateways share: budgets, rate limits, cache. Without it each gateway stands alone. */
    MUSTER_REDIS_URL: z.url({ protocol: /^rediss?$/ }).optional(),
    /** Name of this node; its agent serves the task queue `muster-agent-<node>`. */
    MUSTER_NODE: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/)
      .default('local'),
    /** What a stopping agent does with its model servers. */
    MUSTER_AGENT_ON_EXIT: z.enum(['stop', 'leave']).default('leave'),
    /** Domain of service hosts: <name>-<namespace>.<domain>. */
    MUSTER_DOMAIN: z.string().default('example.com'),
    MUSTER_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
  })
  .check(({ value, issues }) => {
    // One without the other would be TLS that is silently off.
    const needs = (given: keyof typeof value, needed: keyof typeof value) => {
      if (value[given] === undefined || value[needed] !== undefined) return;
      issues.push({ code: 'custom', path: [needed], input: value, message: `must be set, too: ${given} is` });
    };
    needs('MUSTER_TLS_CERT', 'MUSTER_TLS_KEY');
    needs('MUSTER_TLS_KEY', 'MUSTER_TLS_CERT');
    needs('MUSTER_TLS_CLIENT_CA', 'MUSTER_TLS_CERT');
    needs('MUSTER_UPSTREAM_CERT', 'MUSTER_UPSTREAM_KEY');
    needs('MUSTER_UPSTREAM_KEY', 'MUSTER_UPSTREAM_CERT');
    if (value.MUSTER_TLS_CLIENT_CERT === 'required' && value.MUSTER_TLS_CLIENT_CA === undefined) {
      const message = 'must be set, too: clients are to bring a certificate';
      issues.push({ code: 'custom', path: ['MUSTER_TLS_CLIENT_CA'], input: value, message });
    }
  });

export interface Settings {
  readonly dataDir: string;
  readonly host: string;
  readonly gatewayPort: number;
  readonly grpcPort: number;
  /** True when MUSTER_GRPC_PORT was given. */
  readonly grpcIsChosen: boolean;
  /** Undefined: plain HTTP. */
  readonly tls: TlsSettings | undefined;
  /** Undefined: the system's authorities, no certificate of our own. */
  readonly upstreamTls: UpstreamTlsSettings | undefined;
  readonly gatewayProcesses: number;
  readonly gatewayWarmUpMs: number;
  readonly gatewayClient: 'own' | 'undici';
  readonly gatewayRoutes: string | undefined;
  readonly apiPort: number;
  readonly temporalPort: number;
  readonly temporalUiPort: number;
  /** host:port of the Temporal server in use. */
  readonly temporalAddress: string;
  /** True when TEMPORAL_ADDRESS named a server that is not ours to start. */
  readonly temporalIsExternal: boolean;
  readonly temporalNamespace: string;
  readonly apiUrl: string;
  readonly gatewayUrl: string;
  readonly databaseUrl: string | undefined;
  readonly redisUrl: string | undefined;
  readonly node: string;
  readonly agentOnExit: 'stop' | 'leave';
  readonly domain: string;
  readonly logLevel: string;
}

interface TlsSettings {
  readonly certPath: string;
  readonly keyPath: string;
  readonly clientCaPath?: string;
  readonly requireClientCertificate: boolean;
}

interface UpstreamTlsSettings {
  readonly caPath?: string;
  readonly certPath?: string;
  readonly keyPath?: string;
  readonly serverName?: string;
}

type Shape = z.infer<typeof shape>;

/**
 * @param env the process's environment
 * @param home the user's home folder, for the default data folder
 * @throws ZodError that names the variable and what is wrong with it
 */
export function parseSettings(env: Readonly<Record<string, string | undefined>>, home: string): Settings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const s = shape.parse(given);
  return {
    dataDir: s.MUSTER_DATA_DIR ?? `${home}/.muster`,
    host: s.MUSTER_HOST,
    gatewayPort: s.MUSTER_GATEWAY_PORT,
    grpcPort: s.MUSTER_GRPC_PORT,
    grpcIsChosen: given['MUSTER_GRPC_PORT'] !== undefined,
    tls: tlsOf(s),
    upstreamTls: upstreamTlsOf(s),
    gatewayProcesses: s.MUSTER_GATEWAY_PROCESSES,
    gatewayWarmUpMs: s.MUSTER_GATEWAY_WARM_UP_MS,
    gatewayClient: s.MUSTER_GATEWAY_CLIENT,
    gatewayRoutes: s.MUSTER_GATEWAY_ROUTES,
    apiPort: s.MUSTER_API_PORT,
    temporalPort: s.MUSTER_TEMPORAL_PORT,
    temporalUiPort: s.MUSTER_TEMPORAL_UI_PORT,
    temporalAddress: s.TEMPORAL_ADDRESS ?? `127.0.0.1:${s.MUSTER_TEMPORAL_PORT}`,
    temporalIsExternal: s.TEMPORAL_ADDRESS !== undefined,
    temporalNamespace: s.TEMPORAL_NAMESPACE,
    apiUrl: s.MUSTER_API_URL ?? `http://${s.MUSTER_HOST}:${s.MUSTER_API_PORT}`,
    gatewayUrl: s.MUSTER_GATEWAY_URL ?? `http://${s.MUSTER_HOST}:${s.MUSTER_GATEWAY_PORT}`,
    databaseUrl: s.MUSTER_DATABASE_URL,
    redisUrl: s.MUSTER_REDIS_URL,
    node: s.MUSTER_NODE,
    agentOnExit: s.MUSTER_AGENT_ON_EXIT,
    domain: s.MUSTER_DOMAIN,
    logLevel: s.MUSTER_LOG_LEVEL,
  };
}

function tlsOf(s: Shape): TlsSettings | undefined {
  if (s.MUSTER_TLS_CERT === undefined || s.MUSTER_TLS_KEY === undefined) return undefined;
  return {
    certPath: s.MUSTER_TLS_CERT,
    keyPath: s.MUSTER_TLS_KEY,
    ...(s.MUSTER_TLS_CLIENT_CA === undefined ? {} : { clientCaPath: s.MUSTER_TLS_CLIENT_CA }),
    requireClientCertificate: s.MUSTER_TLS_CLIENT_CERT === 'required',
  };
}

function upstreamTlsOf(s: Shape): UpstreamTlsSettings | undefined {
  const given = {
    ...(s.MUSTER_UPSTREAM_CA === undefined ? {} : { caPath: s.MUSTER_UPSTREAM_CA }),
    ...(s.MUSTER_UPSTREAM_CERT === undefined ? {} : { certPath: s.MUSTER_UPSTREAM_CERT }),
    ...(s.MUSTER_UPSTREAM_KEY === undefined ? {} : { keyPath: s.MUSTER_UPSTREAM_KEY }),
    ...(s.MUSTER_UPSTREAM_SERVER_NAME === undefined ? {} : { serverName: s.MUSTER_UPSTREAM_SERVER_NAME }),
  };
  return Object.keys(given).length === 0 ? undefined : given;
}
