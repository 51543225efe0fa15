import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir, hostname } from 'node:os';
import { pino } from 'pino';
import { ZodError } from 'zod';
import { dataFolder } from '../domain/process/data-folder.ts';
import { parseSettings } from '../domain/process/settings.schema.ts';
import type { Settings } from '../domain/process/settings.schema.ts';
import { defaultLimits } from './limits.ts';
import { startGateway } from './start.ts';

/**
 * One gateway process. Exit codes: 0 after a signal, 3 when its port is in use, 1 for anything else, each with one
 * plain line on standard error.
 */
const settings = readSettings();
const destination = pino.destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: 250 });
const logger = pino({ level: settings.logLevel, base: { process: 'gateway' } }, destination);
const packageJson = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

try {
  const running = await startGateway({
    host: settings.host,
    port: settings.gatewayPort,
    apiUrl: settings.apiUrl,
    folder: dataFolder(settings.dataDir),
    gatewayId: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
    limits: defaultLimits,
    logger,
    version: packageJson.version,
  });
  const stop = (why: string) => {
    logger.info({ why }, 'stopping: no new connections, requests in flight are finished');
    void running.stop().then(() => {
      destination.flushSync();
      process.exit(0);
    });
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  // The parent that started this process is gone: nothing is left to serve for.
  process.once('disconnect', () => {
    stop('disconnect');
  });
} catch (error) {
  destination.flushSync();
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    process.stderr.write(
      `Port ${settings.gatewayPort} is in use: stop what uses it, or set MUSTER_GATEWAY_PORT to another port.\n`,
    );
    process.exit(3);
  }
  process.stderr.write(
    `The gateway did not start: ${error instanceof Error ? error.message : String(error)}\n`,
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
