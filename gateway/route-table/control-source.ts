import type { Logger } from 'pino';
import type { DataFolder } from '../../domain/process/data-folder.ts';
import type { ControlLink } from '../control-proxy/control-link.ts';
import type { Endpoints } from '../upstream/endpoints.ts';
import { ControlClient } from './control-client.ts';
import { Reporter, defaultReporterOptions } from './reporter.ts';
import { SnapshotFile } from './snapshot-file.ts';
import type { TableSource } from './table-source.ts';
import type { TableStore } from './table-store.ts';
import { TableStream, defaultStreamOptions } from './table-stream.ts';

/** Tables of the control API: the last good one from disk, then its stream; and reports back to it. */
export interface ControlSourceOptions {
  readonly apiUrl: string;
  readonly folder: Pick<DataFolder, 'internalToken' | 'routeTable'>;
  readonly gatewayId: string;
  readonly logger: Logger;
  readonly stream?: Partial<typeof defaultStreamOptions> | undefined;
  readonly reports?: Partial<typeof defaultReporterOptions> | undefined;
}

export function controlSource(
  options: ControlSourceOptions,
  store: TableStore,
  endpoints: Endpoints,
  link: ControlLink,
): TableSource {
  const { folder, gatewayId: gateway, logger } = options;
  const snapshot = new SnapshotFile(folder.routeTable, logger);
  const client = new ControlClient(options.apiUrl, folder.internalToken);
  link.client = client;
  const stream = new TableStream(
    client,
    store,
    { ...defaultStreamOptions, ...options.stream, gateway },
    logger,
  );
  const reportOptions = { ...defaultReporterOptions, ...options.reports, gateway };
  const reporter = new Reporter(client, store, endpoints, reportOptions, logger);
  return {
    first: async () => {
      const saved = await snapshot.load();
      if (saved !== null && store.apply(saved, -1) !== null)
        logger.info('serving from the saved route table');
      store.onApplied((table) => {
        snapshot.save(table);
      });
    },
    follow: () => {
      stream.start();
      reporter.start();
    },
    stop: async () => {
      link.client = null;
      await Promise.all([stream.stop(), reporter.stop()]);
      await client.close();
      await snapshot.flush();
    },
  };
}
