import { homedir } from 'node:os';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { MusterError } from '../../domain/errors.ts';
import { parseSettings } from '../../domain/process/settings.schema.ts';
import { endLeftovers } from './leftovers.ts';
import { acquireLock, releaseLock } from './lock.ts';
import { openLog } from './log-file.ts';
import { Parent } from './parent.ts';
import { checkPorts } from './ports.ts';
import { prepareFolder } from './prepare-folder.ts';
import { identify } from './process-identity.ts';
import { childEnvironment, musterRoot, ownProcesses, temporalProcess, wantedPorts } from './process-list.ts';
import { resolvePorts } from './resolve-ports.ts';
import { lockFile, type ParentMessage } from './state.ts';
import { findTemporal } from './temporal-server.ts';

/**
 * The embedded parent: runs the whole of Muster on one machine. `muster up` starts it with an IPC channel, shows
 * what it tells, and stops it; once told to detach it goes on alone. Options: --detached.
 */
process.exitCode = await main();

async function main(): Promise<number> {
  const detached = process.argv.includes('--detached');
  try {
    const error = await runAll(detached);
    if (error !== null) throw error;
    return 0;
  } catch (error) {
    const known = error instanceof MusterError ? error : new MusterError('internal', String(error));
    await tell({ type: 'fatal', code: known.code, message: known.message });
    if (process.send === undefined) console.error(`muster: ${known.message}`);
    return known.code === 'port_in_use' || known.code === 'already_running' ? 3 : 1;
  } finally {
    if (process.connected) process.disconnect?.();
  }
}

async function runAll(detached: boolean): Promise<MusterError | null> {
  const env = process.env;
  const asked = parseSettings(env, homedir());
  const folder = prepareFolder(asked.dataDir, musterVersion());
  const self = identify(process.pid);
  if (self === null)
    throw new MusterError('internal', 'The own process is not listed; /proc or ps is needed.');
  const now = new Date();
  const lock = acquireLock(lockFile(folder.run), self, now);
  try {
    await endLeftovers(folder.run, 10_000);
    const settings = await resolvePorts(asked, env);
    await checkPorts(settings.host, wantedPorts(settings));
    const log = pino(
      { level: settings.logLevel },
      pino.destination({ dest: openLog(`${folder.logs}/up.log`), sync: true }),
    );
    const childEnv = childEnvironment(env, settings);
    const parent = new Parent({
      settings,
      folder,
      detached,
      now,
      log,
      own: ownProcesses(settings, folder, childEnv),
      temporal: settings.temporalIsExternal
        ? null
        : async (say) => {
            const found = await findTemporal({ path: env['PATH'] ?? '', programs: folder.programs, say });
            log.info({ path: found.path, version: found.version }, 'temporal server found');
            return temporalProcess(found.path, settings, folder, childEnv);
          },
      publish: (state) => void tell({ type: 'state', state }),
    });
    stopOnSignals(parent, detached);
    return await parent.run();
  } finally {
    releaseLock(lockFile(folder.run), lock);
  }
}

function stopOnSignals(parent: Parent, detached: boolean): void {
  let isAlone = false;
  const stop = () => void parent.stop();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
  process.on('message', (message: { type?: unknown }) => {
    isAlone ||= detached && message.type === 'detach';
  });
  // The CLI that started us is gone without a word: nobody could stop us any more.
  process.on('disconnect', () => {
    if (!isAlone) stop();
  });
}

/** Never fails: the listener may have gone. */
async function tell(message: ParentMessage): Promise<void> {
  if (process.send === undefined || !process.connected) return;
  await new Promise<void>((resolve) => {
    process.send?.(message, undefined, undefined, () => {
      resolve();
    });
  });
}

function musterVersion(): string {
  const manifest = JSON.parse(readFileSync(join(musterRoot, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}
