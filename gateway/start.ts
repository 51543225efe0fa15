import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { DataFolder } from '../domain/process/data-folder.ts';
import { buildGateway } from './app.ts';
import type { GatewayLimits } from './limits.ts';
import { ControlClient } from './route-table/control-client.ts';
import { Reporter, defaultReporterOptions } from './route-table/reporter.ts';
import { SnapshotFile } from './route-table/snapshot-file.ts';
import { TableStream, defaultStreamOptions } from './route-table/table-stream.ts';

/** A whole gateway: last good table, port, route stream, reports; and the way back out of all of it. */
export interface GatewayOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly apiUrl: string;
  readonly folder: Pick<DataFolder, 'internalToken' | 'routeTable'>;
  readonly gatewayId: string;
  readonly limits: GatewayLimits;
  readonly logger: Logger;
  readonly version: string;
  readonly stream?: Partial<typeof defaultStreamOptions>;
  readonly reports?: Partial<typeof defaultReporterOptions>;
}

export interface RunningGateway {
  readonly url: string;
  /** Finishes what is in flight, within the drain limit, and frees the port. */
  stop(): Promise<void>;
}

export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { limits, logger, folder, gatewayId } = options;
  const gateway = buildGateway({ limits, logger, version: options.version });
  const { app, store, endpoints } = gateway;
  const snapshot = new SnapshotFile(folder.routeTable, logger);
  const saved = await snapshot.load();
  if (saved !== null && store.apply(saved, -1) !== null) logger.info('serving from the saved route table');
  store.onApplied((table) => {
    snapshot.save(table);
  });
  const url = await app.listen({ host: options.host, port: options.port });
  const client = new ControlClient(options.apiUrl, folder.internalToken);
  const streamOptions = { ...defaultStreamOptions, ...options.stream, gateway: gatewayId };
  const stream = new TableStream(client, store, streamOptions, logger);
  const reportOptions = { ...defaultReporterOptions, ...options.reports, gateway: gatewayId };
  const reporter = new Reporter(client, store, endpoints, reportOptions, logger);
  stream.start();
  reporter.start();
  logger.info({ url, gateway: gatewayId }, 'listening');
  let stopping: Promise<void> | null = null;
  const stop = async () => {
    gateway.drain();
    await drain(app.server, () => app.close(), limits.drainMs, logger);
    await Promise.all([stream.stop(), reporter.stop()]);
    await client.close();
    endpoints.close();
    await snapshot.flush();
  };
  return { url, stop: () => (stopping ??= stop()) };
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
