import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, Runtime, type LogEntry } from '@temporalio/worker';
import { pino } from 'pino';
import { parseSettings } from '../../domain/process/settings.schema.ts';
import { startAgent } from './agent.ts';

/** The node agent as a process: settings from the environment, one JSON line an event, an orderly end. */
const settings = parseSettings(process.env, homedir());
const logger = pino({ name: 'agent', level: settings.logLevel });

Runtime.install({
  // The agent ends in its own order: activities first, then servers, then reports.
  shutdownSignals: [],
  logger: new DefaultLogger('WARN', ({ level, message, meta }: LogEntry) => {
    const method = level === 'ERROR' ? 'error' : level === 'WARN' ? 'warn' : 'info';
    logger[method]({ ...(meta as object | undefined) }, message);
  }),
});

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const agent = await startAgent({ settings, root, env: process.env, logger });

let isEnding = false;
const end = (why: string): void => {
  if (isEnding) return;
  isEnding = true;
  logger.info({ why }, 'agent is ending');
  agent.close().then(
    () => process.exit(0),
    (error: unknown) => {
      logger.error({ err: error }, 'agent did not end in order');
      process.exit(1);
    },
  );
};
process.on('SIGTERM', () => {
  end('SIGTERM');
});
process.on('SIGINT', () => {
  end('SIGINT');
});
// A parent that started us with a channel and is gone: nobody would end us later.
process.on('disconnect', () => {
  end('the parent is gone');
});
