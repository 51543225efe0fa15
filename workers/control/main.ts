import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { Runtime, makeTelemetryFilterString } from '@temporalio/worker';
import { pino } from 'pino';
import { lineAsker } from '../../activities/batch/ask-line.ts';
import { batchActivities } from '../../activities/batch/batch-activities.ts';
import { ControlApi } from '../../activities/control/api.ts';
import { controlActivities } from '../../activities/control/control-activities.ts';
import { ledgerActivities } from '../../activities/ledger/ledger-activities.ts';
import { redisBooks } from '../../activities/ledger/redis-books.ts';
import { dataFolder } from '../../domain/process/data-folder.ts';
import { parseSettings } from '../../domain/process/settings.schema.ts';
import { bundleWorkflows } from '../bundle.ts';
import { temporalLogger } from './logger.ts';
import { serve } from './serve.ts';

/** The control worker: runs the workflows, and the activities that speak to the control API. */
const settings = parseSettings(process.env, homedir());
const folder = dataFolder(settings.dataDir);
const log = pino({ level: settings.logLevel, base: { process: 'worker' } });
const logger = temporalLogger(log.child({ part: 'temporal' }));

const ending = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.once(name, () => {
    log.info({ signal: name }, 'control worker ends');
    ending.abort();
  });
}

Runtime.install({
  logger,
  shutdownSignals: [],
  telemetryOptions: {
    logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }), forward: {} },
  },
});

const internalToken = async () => (await readFile(folder.internalToken, 'utf8')).trim();
const api = new ControlApi({
  url: settings.apiUrl,
  token: internalToken,
});
/** Of one batch, in the gateway's queue as best-effort work. */
const batchLinesAtOnce = 16;
const askLine = lineAsker({ gatewayUrl: settings.gatewayUrl, internalToken });
const books = settings.redisUrl === undefined ? null : redisBooks(settings.redisUrl);
const bundle = await bundleWorkflows({ cache: folder.bundles, logger });
await serve({
  address: settings.temporalAddress,
  namespace: settings.temporalNamespace,
  bundle,
  activities: {
    ...controlActivities({
      api,
      node: settings.node,
      site: { gatewayUrl: settings.gatewayUrl, domain: settings.domain },
      now: Date.now,
    }),
    ...batchActivities({ api, askLine, concurrency: batchLinesAtOnce }),
    ...ledgerActivities({ api, books, now: Date.now }),
  },
  log,
  signal: ending.signal,
});
await api.close();
await askLine.close();
books?.close();
log.info('control worker ended');
// The SDK keeps the process alive for a while after its last worker.
process.exit(0);
