import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { pino } from 'pino';
import { ZodError } from 'zod';
import { dataFolder } from '../domain/process/data-folder.ts';
import { parseSettings } from '../domain/process/settings.schema.ts';
import type { Settings } from '../domain/process/settings.schema.ts';
import { Primary, StartFailed, defaultPrimaryOptions } from './cluster/primary.ts';
import { PrimaryLink } from './cluster/worker.ts';
import { defaultLimits } from './limits.ts';
import { RoutesFileError, RoutesFileSource } from './route-table/routes-file.ts';
import { serve, startGateway, startStandalone } from './start.ts';
import type { ServeOptions } from './start.ts';

/**
 * A gateway: one process, or a first one and those that it starts. Exit codes: 0 after a signal, 3 when its port is
 * in use, 1 for anything else, each with one plain line on standard error.
 */
const settings = readSettings();
/** Beyond 16 MiB that nobody takes, lines are dropped and counted: a stuck log must not fill the memory. */
const logBytesMax = 16 * 1024 * 1024;
/** What the log's reader has for the last lines. */
const logEndMs = 3_000;
// A line goes out at once, those that come while one is written together: nothing waits for a timer, and none runs.
const destination = pino.destination({ dest: 1, sync: false, minLength: 0, maxLength: logBytesMax });
const log = { hasReader: true };
/** A full disk, or a reader that has gone: requests are served all the same. */
destination.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') log.hasReader = false;
  destination.flushSync = () => undefined; // at exit pino's own would try for ever
});
const { worker } = cluster;
const base = worker === undefined ? { process: 'gateway' } : { process: 'gateway', worker: worker.id };
const logger = pino({ level: settings.logLevel, base }, destination);
const packageJson = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const starting = new AbortController();
const options: ServeOptions = {
  host: settings.host,
  port: settings.gatewayPort,
  grpc: { port: settings.grpcPort, isChosen: settings.grpcIsChosen },
  tls: settings.tls,
  upstreamTls: settings.upstreamTls,
  folder: dataFolder(settings.dataDir),
  limits: defaultLimits,
  logger,
  version: packageJson.version,
  redisUrl: settings.redisUrl,
  processes: settings.gatewayProcesses,
  warmUpMs: settings.gatewayWarmUpMs,
  client: settings.gatewayClient,
  signal: starting.signal,
};

/** What a signal ends. Before there is anything to end nothing is in flight, and what is on disk bears a kill. */
const ending: { stop: () => Promise<void>; running: Promise<void> | null } = {
  stop: () => Promise.resolve(),
  running: null,
};
const end = (why: string) => {
  logger.info({ why }, 'stopping: no new connections, requests in flight are finished');
  starting.abort();
  ending.running ??= ending
    .stop()
    .then(closeLog)
    .then(() => process.exit(0));
};
// From here on, also within the rehearsal: as the first process of a container it would not be ended otherwise.
process.on('SIGTERM', end);
process.on('SIGINT', end);
// The parent that started this process is gone: nothing is left to serve for.
process.once('disconnect', () => {
  end('disconnect');
});

try {
  if (worker !== undefined) await runWorker();
  else if (settings.gatewayProcesses > 1) await runPrimary(settings.gatewayProcesses);
  else await runAlone();
} catch (error) {
  if (ending.running === null) await fail(error);
}

async function runAlone(): Promise<void> {
  const { gatewayRoutes: routesFile } = settings;
  const running =
    routesFile === undefined
      ? await startGateway({ ...options, apiUrl: settings.apiUrl, gatewayId: makeId() })
      : await startStandalone({ ...options, routesFile });
  ending.stop = () => running.stop();
}

async function runPrimary(processes: number): Promise<void> {
  const stopMs = defaultLimits.drainMs + 5_000;
  const primary = new Primary({ ...defaultPrimaryOptions, processes, logger, stopMs });
  const { gatewayRoutes: path } = settings;
  const onRefused = primary.refuse.bind(primary);
  const onTable = primary.setTable.bind(primary);
  const source = path === undefined ? null : new RoutesFileSource({ path, logger, onTable, onRefused });
  ending.stop = async () => {
    await source?.stop();
    await primary.stop();
  };
  await primary.start(source);
  logger.info({ processes }, 'all processes listen');
}

async function runWorker(): Promise<void> {
  const link = new PrimaryLink();
  const workerOptions: ServeOptions = {
    ...options,
    onBuilt: ({ metrics }) => {
      link.tellNumbersOf(metrics.registry);
      metrics.ofAllProcesses = () => link.scrape(metrics.registry);
    },
  };
  const running =
    settings.gatewayRoutes === undefined
      ? await startGateway({ ...workerOptions, apiUrl: settings.apiUrl, gatewayId: makeId() })
      : await serve(workerOptions, ({ store }) => link.tables((table) => store.apply(table, -1)));
  ending.stop = () => running.stop();
  link.ready();
}

function makeId(): string {
  return `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/**
 * Not by its `flushSync`, also at exit: that tries for ever when its reader has gone. Where the reader is there and does
 * not read, a thread of Node's waits in its write, and an exit would wait for that: all work is done, so it is killed.
 */
async function closeLog(): Promise<void> {
  if (!log.hasReader) return;
  const isWritten = await new Promise<boolean>((resolve) => {
    destination.once('close', () => {
      resolve(true);
    });
    destination.once('error', () => {
      resolve(true);
    });
    destination.end();
    setTimeout(resolve, logEndMs, false);
  });
  if (!isWritten) process.kill(process.pid, 'SIGKILL');
}

async function fail(error: unknown): Promise<never> {
  await closeLog();
  if (error instanceof StartFailed) process.exit(error.exitCode); // it has said why
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    const isGrpc = 'port' in error && error.port === settings.grpcPort && settings.grpcIsChosen;
    const [port, variable] = isGrpc
      ? [settings.grpcPort, 'MUSTER_GRPC_PORT']
      : [settings.gatewayPort, 'MUSTER_GATEWAY_PORT'];
    process.stderr.write(`Port ${port} is in use: stop what uses it, or set ${variable} to another port.\n`);
    process.exit(3);
  }
  process.stderr.write(
    error instanceof RoutesFileError ? `${message}\n` : `The gateway did not start: ${message}\n`,
  );
  process.exit(1);
}

function readSettings(): Settings {
  try {
    return parseSettings(process.env, homedir());
  } catch (error) {
    const issues = error instanceof ZodError ? error.issues : [];
    const what = issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
    process.stderr.write(`The gateway did not start: ${what === '' ? String(error) : what}\n`);
    process.exit(1);
  }
}
