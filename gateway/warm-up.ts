import { createHash, randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { pino } from 'pino';
import { tableFromFile } from '../domain/route-table/routes-file.ts';
import { RoutesFile } from '../domain/route-table/routes-file.schema.ts';
import { buildGateway } from './app.ts';
import type { Gateway, GatewayDeps } from './app.ts';
import { answerAll, isWhole, rehearsalRequests } from './warm-up-traffic.ts';

/**
 * A rehearsal before the port opens, so that the first real requests do not pay for V8's compilers: a second gateway
 * is built in this process, with keys, queues and budgets on, and asked some ten thousand times over loopback in front of
 * servers that answer at once. Compiled code belongs to functions and not to their gateway, so it stays when the
 * rehearsal is thrown away; numbers, tables and logs of the real gateway see nothing of it.
 */
export interface WarmUpOptions extends Pick<
  GatewayDeps,
  'limits' | 'logger' | 'version' | 'accessLogEveryMs'
> {
  readonly client?: GatewayDeps['client'] | undefined;
  /** It ends then, or sooner, when enough was asked. */
  readonly msMax: number;
  /** Aborted: it ends at once. */
  readonly signal?: AbortSignal | undefined;
  /** False for ports that are about to be opened: a rehearsal there would be taken for the gateway itself. */
  readonly mayListenOn: (port: number) => boolean;
}

const requestsMax = 24_000;
const connections = 8;

export interface Rehearsed {
  /** Requests that had their whole answer. */
  readonly requests: number;
  /** Those of them whose answer was not 200: they have warmed refusals only. */
  readonly refused: number;
}

/** Failing at it is no reason not to serve. */
export async function warmUp(options: WarmUpOptions): Promise<Rehearsed> {
  const { mayListenOn, msMax, signal } = options;
  const over = AbortSignal.any([AbortSignal.timeout(msMax), ...(signal === undefined ? [] : [signal])]);
  const upstreams: Server[] = [];
  let gateway: Gateway | null = null;
  try {
    for (let count = 0; count < 2; count += 1) upstreams.push(await listen(answerAll, mayListenOn));
    gateway = rehearsing(options);
    const key = `rehearsal-${randomBytes(16).toString('hex')}`;
    gateway.store.apply(rehearsalTable(upstreams.map(portOf), key), -1);
    const port = await freePort(mayListenOn);
    // exclusive: with several processes, this port is of this one alone.
    await gateway.app.listen({ host: '127.0.0.1', port, exclusive: true });
    const asked = Array.from({ length: connections }, (_, at) => ask(port, rehearsalRequests(key, at), over));
    return (await Promise.all(asked)).reduce((sum, one) => ({
      requests: sum.requests + one.requests,
      refused: sum.refused + one.refused,
    }));
  } finally {
    if (gateway !== null) await end(gateway);
    for (const upstream of upstreams) upstream.close();
  }
}

function rehearsing({ accessLogEveryMs, client, limits, logger, version }: WarmUpOptions): Gateway {
  return buildGateway({
    limits,
    logger: pino({ level: logger.level }, { write: () => undefined }),
    version,
    isRehearsal: true,
    ...(accessLogEveryMs === undefined ? {} : { accessLogEveryMs }),
    ...(client === undefined ? {} : { client }),
  });
}

async function end(gateway: Gateway): Promise<void> {
  gateway.drain();
  gateway.app.server.closeAllConnections();
  await gateway.app.close();
  await gateway.finish();
  gateway.endpoints.close();
  await gateway.accounting.close();
}

function rehearsalTable(ports: readonly number[], key: string) {
  const sha256 = createHash('sha256').update(key).digest('hex');
  const file = {
    services: [{ name: 'm', endpoints: ports.map((port) => `http://127.0.0.1:${port}`) }],
    policy: {
      access: { mode: 'required', keys: [{ id: 'rehearsal', sha256, tenant: 'rehearsal' }] },
      qos: { concurrency: { perEndpoint: 1_000 }, tenantShare: 'tokens' },
      prices: { models: [{ model: '*', inputPerMillion: 1, outputPerMillion: 1 }] },
      budgets: [{ id: 'rehearsal', per: 'key', period: 'day', limitTokens: 1e12, limitCostMicros: 1e12 }],
      rateLimits: [{ id: 'rehearsal', per: 'key', requestsPerMinute: 1e9, tokensPerMinute: 1e9 }],
    },
  };
  return tableFromFile(RoutesFile.parse(file), 0);
}

/** One connection, one request after another. */
function ask(port: number, requests: readonly Buffer[], over: AbortSignal): Promise<Rehearsed> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    let count = 0;
    let refused = 0;
    let got = '';
    const stop = () => socket.destroy();
    const next = () => {
      const request = requests[count % requests.length];
      if (request === undefined || count >= requestsMax / connections) stop();
      else socket.write(request);
    };
    if (over.aborted) stop();
    over.addEventListener('abort', stop, { once: true });
    socket.on('connect', next);
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1');
      if (!isWhole(got)) return;
      if (!got.startsWith('HTTP/1.1 200 ')) refused += 1;
      got = '';
      count += 1;
      next();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      over.removeEventListener('abort', stop);
      resolve({ requests: count, refused });
    });
  });
}

/** Listens on any port that may be used; those that may not are held until another one is found. */
async function listen(
  onConnection: (socket: Socket) => void,
  mayListenOn: (port: number) => boolean,
): Promise<Server> {
  const server = createServer(onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0, exclusive: true }, resolve);
  });
  let isKept = false;
  try {
    isKept = mayListenOn(portOf(server));
    return isKept ? server : await listen(onConnection, mayListenOn);
  } finally {
    if (!isKept) server.close();
  }
}

async function freePort(mayListenOn: (port: number) => boolean): Promise<number> {
  const server = await listen((socket) => socket.destroy(), mayListenOn);
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
