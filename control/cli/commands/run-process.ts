import { spawn } from 'node:child_process';
import { join } from 'node:path';
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

/** `muster gateway` and the like: one process of Muster in the foreground; its exit code becomes ours. */
export async function runProcess(context: Context, name: ProcessName): Promise<void> {
  const leash = new URL('../../up/leash.ts', import.meta.url).href;
  const args = [
    '--disable-warning=ExperimentalWarning',
    '--import',
    leash,
    join(musterRoot, processFiles[name]),
  ];
  const child = spawn(process.execPath, args, {
    cwd: musterRoot,
    env: { ...context.env, MUSTER_LEASH: String(process.pid) },
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    detached: true,
  });
  const forward = (signal: NodeJS.Signals) => {
    child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
  const code = await new Promise<number>((resolve, reject) => {
    child.once('exit', (exitCode) => {
      resolve(exitCode ?? 1);
    });
    child.once('error', reject);
  });
  if (code !== 0) throw new CliError(`The ${name} ended with exit code ${code}.`, code);
}
