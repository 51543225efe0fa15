import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { z } from 'zod';
import { MusterError, messageOf } from '../../domain/errors.ts';
import { dataFolder } from '../../domain/process/data-folder.ts';
import type { Settings } from '../../domain/process/settings.schema.ts';
import { parseSettings } from '../../domain/process/settings.schema.ts';
import { openStore } from '../store/store.ts';
import { buildApi } from './app.ts';
import { apiMetrics } from './metrics.ts';
import { exitCodeOf, listen } from './serve.ts';
import { importStockRuntimes } from './stock-runtimes.ts';
import { temporalLifecycle } from './temporal-lifecycle.ts';
import { readOrMakeToken } from './tokens.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const drainMs = 8_000;

/** One process of the control API: opens the store, serves, drains on SIGTERM or SIGINT. */
async function run(settings: Settings, log: Logger): Promise<void> {
  const folder = dataFolder(settings.dataDir);
  const [token, internalToken] = [
    await readOrMakeToken(folder.token),
    await readOrMakeToken(folder.internalToken),
  ];
  const metrics = apiMetrics();
  const store = await openStore({
    folder: folder.store,
    databaseUrl: settings.databaseUrl,
    observe: metrics.observeStore,
    onBroken: (error) => {
      fail(log, error);
    },
  });
  log.info(store.migrated, 'the store is open');
  await importStockRuntimes(store.runtimes, `${root}deploy/runtimes`, log, new Date().toISOString());
  const lifecycle = temporalLifecycle({
    address: settings.temporalAddress,
    namespace: settings.temporalNamespace,
  });
  const app = await buildApi({
    store,
    lifecycle,
    security: { token, internalToken, hosts: hostsOf(settings) },
    site: {
      version: await ownVersion(),
      startedAt: new Date().toISOString(),
      gatewayUrl: settings.gatewayUrl,
      temporalAddress: settings.temporalAddress,
      temporalUiUrl: settings.temporalIsExternal ? null : `http://127.0.0.1:${settings.temporalUiPort}`,
      node: settings.node,
    },
    metrics,
    log,
    filesFolder: folder.files,
    now: () => Date.now(),
  });
  const stop = async (signal: string): Promise<void> => {
    log.info({ signal }, 'the control API drains');
    setTimeout(() => {
      fail(log, new MusterError('timeout', `The control API did not drain within ${drainMs} ms.`));
    }, drainMs).unref();
    await app.close();
    await lifecycle.close();
    await store.close();
    log.info('the control API has ended');
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stop(signal).catch((error: unknown) => {
        fail(log, error);
      });
    });
  }
  try {
    const port = await listen(app, settings.host, settings.apiPort);
    log.info({ host: settings.host, port }, 'the control API listens');
  } catch (error) {
    await app.close();
    await store.close();
    throw error;
  }
}

/** Names that this API may be called by: what it binds, and the host of its public address. */
function hostsOf(settings: Settings): string[] {
  return [settings.host, new URL(settings.apiUrl).hostname];
}

async function ownVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8')) as { version: string };
  return version;
}

function wrongSettings(error: z.ZodError): MusterError {
  const lines = error.issues.map(({ path, message }) => `${path.join('.')} is wrong: ${message}`);
  return new MusterError(
    'invalid_input',
    `${lines.join('; ')}. Correct the environment variable and start again.`,
  );
}

function fail(log: Logger, error: unknown): void {
  const message = messageOf(error);
  if (error instanceof MusterError) log.fatal({ code: error.code }, message);
  else log.fatal({ err: error }, message);
  process.exit(exitCodeOf(error));
}

const log = pino({ name: 'api' });
try {
  const settings = parseSettings(process.env, homedir());
  log.level = settings.logLevel;
  await run(settings, log);
} catch (error) {
  fail(log, error instanceof z.ZodError ? wrongSettings(error) : error);
}
