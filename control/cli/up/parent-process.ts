import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dataFolder } from '../../../domain/process/data-folder.ts';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';
import type { DetachMessage, ParentMessage, UpState } from '../../up/state.ts';

export interface ParentEnd {
  readonly code: number;
  /** null: it was told to stop and did. */
  readonly fatal: { readonly code: string; readonly message: string } | null;
}

/** The embedded parent as the CLI holds it. */
export interface ParentProcess {
  readonly ended: Promise<ParentEnd>;
  /** First call: in order; second: at once. */
  stop(): void;
  /** Leaves it running alone. */
  detach(): Promise<void>;
}

/**
 * Starts control/up/main.ts in a session of its own, so that a Ctrl-C reaches the CLI alone. When the CLI dies the
 * channel closes, and the parent stops.
 */
export function startParent(
  env: Readonly<Record<string, string | undefined>>,
  dataDir: string,
  isDetached: boolean,
  onState: (state: UpState) => void,
): ParentProcess {
  const main = fileURLToPath(new URL('../../up/main.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    [...nodeFlagsFor('up'), main, ...(isDetached ? ['--detached'] : [])],
    {
      env,
      detached: true,
      stdio: ['ignore', 'ignore', crashLog(dataDir), 'ipc'],
    },
  );
  let fatal: ParentEnd['fatal'] = null;
  child.on('message', (message) => {
    const told = message as ParentMessage;
    if (told.type === 'state') onState(told.state);
    else fatal = { code: told.code, message: told.message };
  });
  return {
    ended: endOf(child, () => fatal),
    stop: () => {
      child.kill('SIGTERM');
    },
    detach: async () => {
      const message: DetachMessage = { type: 'detach' };
      await new Promise<void>((resolve) => {
        child.send(message, () => {
          resolve();
        });
      });
      child.disconnect();
      child.unref();
    },
  };
}

async function endOf(child: ChildProcess, fatal: () => ParentEnd['fatal']): Promise<ParentEnd> {
  return new Promise((resolve) => {
    // close and not exit: the last message may still be in the channel.
    child.once('close', (code, signal) => {
      const how = signal === null ? `with exit code ${code ?? '?'}` : `by ${signal}`;
      const message = `Muster's parent process ended unexpectedly ${how}. Its processes end by themselves; start it again.`;
      const unexpected = { code: 'internal', message };
      resolve({ code: code ?? 1, fatal: code === 0 ? null : (fatal() ?? unexpected) });
    });
    child.once('error', (error) => {
      resolve({ code: 1, fatal: { code: 'internal', message: error.message } });
    });
  });
}

/** Where the words of a crash of the parent itself go; it logs to another file while it is well. */
function crashLog(dataDir: string): number | 'ignore' {
  const { root, logs } = dataFolder(dataDir);
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    mkdirSync(logs, { recursive: true, mode: 0o700 });
    return openSync(`${logs}/up-crash.log`, 'a', 0o600);
  } catch {
    return 'ignore'; // the parent will say why
  }
}
