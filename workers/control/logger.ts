import type { LogLevel, LogMetadata, Logger } from '@temporalio/worker';
import type { Logger as PinoLogger } from 'pino';

/** Sends what Temporal's SDK says, workflows' own log lines among it, into the process's log. */
export function temporalLogger(log: PinoLogger): Logger {
  const write = (level: LogLevel, message: string, meta?: LogMetadata): void => {
    const fields = plain(meta ?? {});
    switch (level) {
      case 'TRACE':
        log.trace(fields, message);
        return;
      case 'DEBUG':
        log.debug(fields, message);
        return;
      case 'INFO':
        log.info(fields, message);
        return;
      case 'WARN':
        log.warn(fields, message);
        return;
      case 'ERROR':
        log.error(fields, message);
    }
  };
  return {
    log: write,
    trace: (message, meta) => {
      write('TRACE', message, meta);
    },
    debug: (message, meta) => {
      write('DEBUG', message, meta);
    },
    info: (message, meta) => {
      write('INFO', message, meta);
    },
    warn: (message, meta) => {
      write('WARN', message, meta);
    },
    error: (message, meta) => {
      write('ERROR', message, meta);
    },
  };
}

/** pino cannot write big integers, which the SDK uses for times. */
function plain(meta: LogMetadata): Record<string, unknown> {
  const { error, ...rest } = meta;
  const fields = Object.entries(rest).map(([key, value]) => [
    key,
    typeof value === 'bigint' ? value.toString() : (value as unknown),
  ]);
  return {
    ...(Object.fromEntries(fields) as Record<string, unknown>),
    ...(error === undefined ? {} : { err: error as unknown }),
  };
}
