import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface CommandResult {
  readonly code: number | null;
  readonly missing: boolean;
  /** The last lines of both streams. */
  readonly output: string;
}

const keptLines = 60;

/**
 * The agent's environment without what no other program should see. Proxies, certificates and pip's own settings
 * stay: pip is used as the machine's owner set it up.
 */
export function toolEnvironment(
  agentEnv: Readonly<Record<string, string | undefined>>,
  own: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv {
  const kept = Object.entries(agentEnv).filter(
    ([name]) => !/^(MUSTER_|TEMPORAL_)|TOKEN|SECRET|PASSWORD/.test(name),
  );
  return { ...Object.fromEntries(kept), PYTHONUNBUFFERED: '1', ...own };
}

/** Runs a tool to its end, by argument vector, and hands on its lines. Killed with its group when aborted. */
export function runTool(
  argv: readonly string[],
  options: {
    readonly env: NodeJS.ProcessEnv;
    readonly cwd: string;
    readonly signal: AbortSignal;
    readonly onLine: (line: string) => void;
    /** The tool runs in a group of its own, so somebody should know its pid. */
    readonly onStart?: (pid: number) => void;
  },
): Promise<CommandResult> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    if (options.signal.aborted) {
      reject(options.signal.reason as Error);
      return;
    }
    const { env, cwd, signal } = options;
    const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    if (child.pid !== undefined) options.onStart?.(child.pid);
    const lines: string[] = [];
    const take = (line: string): void => {
      lines.push(line);
      if (lines.length > keptLines) lines.shift();
      options.onLine(line);
    };
    createInterface({ input: child.stdout }).on('line', take);
    createInterface({ input: child.stderr }).on('line', take);
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    };
    signal.addEventListener('abort', kill, { once: true });
    child.once('error', (error: NodeJS.ErrnoException) => {
      signal.removeEventListener('abort', kill);
      if (error.code === 'ENOENT') resolve({ code: null, missing: true, output: '' });
      else reject(error);
    });
    child.once('close', (code) => {
      signal.removeEventListener('abort', kill);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve({ code, missing: false, output: lines.join('\n') });
    });
  });
}
