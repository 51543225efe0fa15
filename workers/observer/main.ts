import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { pino } from 'pino';
import { ControlApi } from '../../activities/control/api.ts';
import { dataFolder } from '../../domain/process/data-folder.ts';
import { parseSettings } from '../../domain/process/settings.schema.ts';
import { temporalEntities } from './entities.ts';
import { Observer } from './observer.ts';

/** The observer: watches what nodes report and wakes the entities that must know. */
const settings = parseSettings(process.env, homedir());
const folder = dataFolder(settings.dataDir);
const log = pino({ level: settings.logLevel, base: { process: 'observer' } });

const ending = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.once(name, () => {
    log.info({ signal: name }, 'observer ends');
    ending.abort();
  });
}

const api = new ControlApi({
  url: settings.apiUrl,
  token: async () => (await readFile(folder.internalToken, 'utf8')).trim(),
});
const entities = temporalEntities(settings.temporalAddress, settings.temporalNamespace);
const observer = new Observer({
  lines: (signal) => api.lines('/internal/observations/stream', signal),
  entities,
  log,
  now: () => performance.now(),
  signal: ending.signal,
});
log.info({ api: settings.apiUrl, temporal: settings.temporalAddress }, 'observer watches');
await observer.run();
await entities.close();
await api.close();
log.info('observer ended');
