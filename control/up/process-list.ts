import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataFolder } from '../../domain/process/data-folder.ts';
import { nodeFlagsFor } from '../../domain/process/node-flags.ts';
import type { StartedProcess } from '../../domain/process/node-flags.ts';
import type { Settings } from '../../domain/process/settings.schema.ts';
import type { ProcessSpec } from './child.ts';
import { isListening, type WantedPort } from './ports.ts';
import { onShellLeash } from './shell-leash.ts';

/** Muster's own folder: the working directory of all processes. */
export const musterRoot = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

type Env = Readonly<Record<string, string | undefined>>;

/** The ports that the stack listens on; the order is that of the message when several are taken. */
export function wantedPorts(settings: Settings): readonly WantedPort[] {
  const own = [
    { process: 'gateway', variable: 'MUSTER_GATEWAY_PORT', port: settings.gatewayPort },
    { process: 'control API', variable: 'MUSTER_API_PORT', port: settings.apiPort },
  ];
  if (settings.temporalIsExternal) return own;
  return [
    ...own,
    { process: 'Temporal server', variable: 'MUSTER_TEMPORAL_PORT', port: settings.temporalPort },
    { process: 'Temporal UI', variable: 'MUSTER_TEMPORAL_UI_PORT', port: settings.temporalUiPort },
  ];
}

/** The environment that makes every process agree with the parent's settings, chosen ports included. */
export function childEnvironment(env: Env, settings: Settings): Env {
  return {
    ...env,
    PATH: `${dirname(process.execPath)}:${env['PATH'] ?? ''}`,
    MUSTER_DATA_DIR: settings.dataDir,
    MUSTER_HOST: settings.host,
    MUSTER_GATEWAY_PORT: String(settings.gatewayPort),
    MUSTER_API_PORT: String(settings.apiPort),
    MUSTER_TEMPORAL_PORT: String(settings.temporalPort),
    MUSTER_TEMPORAL_UI_PORT: String(settings.temporalUiPort),
    MUSTER_API_URL: settings.apiUrl,
    MUSTER_GATEWAY_URL: settings.gatewayUrl,
    // Absent for our own server: it follows from host and port, and then everyone knows that its UI is ours too.
    TEMPORAL_ADDRESS: settings.temporalIsExternal ? settings.temporalAddress : undefined,
    TEMPORAL_NAMESPACE: settings.temporalNamespace,
    // Nobody would look after model servers once the stack is gone.
    MUSTER_AGENT_ON_EXIT: 'stop',
  };
}

/** Muster's own processes. */
export function ownProcesses(settings: Settings, folder: DataFolder, env: Env): readonly ProcessSpec[] {
  // Those that serve nothing count as running when they did not end at once.
  const stays = (livedMs: number) => Promise.resolve(livedMs >= 1000);
  const answers = (url: string) => async () => (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok;
  return [
    node('api', 'control/api/main.ts', answers(`${settings.apiUrl}/internal/health`)),
    node('worker', 'workers/control/main.ts', stays),
    node('observer', 'workers/observer/main.ts', stays),
    node('agent', 'workers/agent/main.ts', stays),
    node('gateway', 'gateway/main.ts', () => isListening(settings.host, settings.gatewayPort)),
  ];

  function node(name: StartedProcess, file: string, isReady: ProcessSpec['isReady']): ProcessSpec {
    const leash = new URL('leash.ts', import.meta.url).href;
    const flags = nodeFlagsFor(name, env['NODE_OPTIONS']);
    return {
      name,
      command: [process.execPath, ...flags, '--import', leash, join(musterRoot, file)],
      leash: 'node',
      env,
      cwd: musterRoot,
      logFile: `${folder.logs}/${name}.log`,
      isReady,
    };
  }
}

/** The dev server asks nobody for a password, so it is never offered beyond this machine, whatever MUSTER_HOST says. */
const loopback = '127.0.0.1';

/** Temporal's dev server with its UI, keeping its state in one SQLite file. */
export function temporalProcess(
  program: string,
  settings: Settings,
  folder: DataFolder,
  env: Env,
): ProcessSpec {
  const pidFile = `${folder.run}/temporal.pid`;
  const command = [
    ...[program, 'server', 'start-dev', '--ip', loopback, '--port', String(settings.temporalPort)],
    ...['--ui-port', String(settings.temporalUiPort), '--db-filename', folder.temporalDatabase],
    ...['--namespace', settings.temporalNamespace, '--log-level', 'warn'],
  ];
  return {
    name: 'temporal',
    command: onShellLeash(pidFile, command),
    leash: 'shell',
    env,
    cwd: musterRoot,
    logFile: `${folder.logs}/temporal.log`,
    pidFile,
    isReady: () => isListening(loopback, settings.temporalPort),
  };
}
