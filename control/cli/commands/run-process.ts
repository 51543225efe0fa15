import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';
import { musterRoot } from '../../up/process-list.ts';
import type { Context } from '../context.ts';
import { CliError } from '../exit-codes.ts';

export const processFiles = {
  gateway: 'gateway/main.ts',
  worker: 'workers/control/main.ts',
  observer: 'workers/observer/main.ts',
  agent: 'workers/agent/main.ts',
  api: 'control/api/main.ts',
} as const;
export type ProcessName = keyof typeof processFiles;

/** What `muster gateway` takes; the other processes take nothing. */
export interface GatewayFlags {
  readonly routes?: string;
  readonly port?: string;
  readonly grpcPort?: string;
  readonly host?: string;
  readonly processes?: string;
}

/** `muster gateway` and the like: one process of Muster in the foreground; its exit code becomes ours. */
export async function runProcess(
  context: Context,
  name: ProcessName,
  flags: GatewayFlags = {},
): Promise<void> {
  const leash = new URL('../../up/leash.ts', import.meta.url).href;
  const nodeFlags = nodeFlagsFor(name, context.env['NODE_OPTIONS']);
  const args = [...nodeFlags, '--import', leash, join(musterRoot, processFiles[name])];
  const child = spawn(process.execPath, args, {
    cwd: musterRoot,
    env: { ...context.env, ...variables(context, flags), MUSTER_LEASH: String(process.pid) },
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    detached: true,
  });
  const forward = (signal: NodeJS.Signals) => {
    child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
  const code = await new Promise<number>((settle, reject) => {
    child.once('exit', (exitCode) => {
      settle(exitCode ?? 1);
    });
    child.once('error', reject);
  });
  if (code !== 0) throw new CliError(`The ${name} ended with exit code ${code}.`, code);
}

/** Options are the environment's variables by other names; an option that is given wins. */
function variables(
  context: Context,
  { routes, port, grpcPort, host, processes }: GatewayFlags,
): Record<string, string> {
  return {
    ...(routes === undefined ? {} : { MUSTER_GATEWAY_ROUTES: resolve(context.io.cwd, routes) }),
    ...(port === undefined ? {} : { MUSTER_GATEWAY_PORT: port }),
    ...(grpcPort === undefined ? {} : { MUSTER_GRPC_PORT: grpcPort }),
    ...(host === undefined ? {} : { MUSTER_HOST: host }),
    ...(processes === undefined ? {} : { MUSTER_GATEWAY_PROCESSES: processes }),
  };
}
