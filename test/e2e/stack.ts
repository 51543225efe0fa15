import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import { processesOf } from './processes.ts';

export const root = new URL('../../', import.meta.url).pathname;

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The real embedded stack in a folder and on ports of its own, as `npm start` starts it. */
export interface Stack {
  readonly dataDir: string;
  readonly gatewayUrl: string;
  readonly apiUrl: string;
  readonly temporalAddress: string;
  readonly env: Readonly<Record<string, string>>;
  /** All that the parent printed. */
  output(): string;
  cli(...args: readonly string[]): Promise<CliResult>;
  get(name: string, namespace?: string): Promise<InferenceService | undefined>;
  waitFor(
    name: string,
    is: (object: InferenceService) => boolean,
    what: string,
    timeoutMs?: number,
  ): Promise<InferenceService>;
  waitReady(name: string, timeoutMs?: number): Promise<InferenceService>;
  /** Starts the parent (again), from this build or from another folder that holds one. */
  start(...args: readonly string[]): ChildProcess;
  startFrom(folder: string, ...args: readonly string[]): ChildProcess;
  /** Ctrl-C, and waits until the parent has ended. */
  interrupt(): Promise<number | null>;
  /** Ends whatever is left and removes the folder. */
  dispose(): Promise<void>;
}

export async function createStack(extra: Readonly<Record<string, string>> = {}): Promise<Stack> {
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-e2e-'));
  const [gateway, api, temporal, ui] = await freePorts(4);
  const env: Record<string, string> = {
    ...(process.env as Record<string, string>),
    NODE_OPTIONS: '',
    MUSTER_DATA_DIR: dataDir,
    MUSTER_GATEWAY_PORT: String(gateway),
    MUSTER_GRPC_PORT: '0',
    MUSTER_API_PORT: String(api),
    MUSTER_TEMPORAL_PORT: String(temporal),
    MUSTER_TEMPORAL_UI_PORT: String(ui),
    ...extra,
  };
  const gatewayUrl = `http://127.0.0.1:${gateway}`;
  const apiUrl = `http://127.0.0.1:${api}`;
  let parent: ChildProcess | undefined;
  let printed = '';

  async function get(name: string, namespace = 'default'): Promise<InferenceService | undefined> {
    const path = `/apis/serving.kserve.io/v1beta1/namespaces/${namespace}/inferenceservices/${name}`;
    try {
      const token = readFileSync(join(dataDir, 'token'), 'utf8').trim();
      const answer = await fetch(`${apiUrl}${path}`, { headers: { authorization: `Bearer ${token}` } });
      return answer.ok ? ((await answer.json()) as InferenceService) : undefined;
    } catch {
      return undefined; // not up yet, or restarting
    }
  }

  const stack: Stack = {
    dataDir,
    gatewayUrl,
    apiUrl,
    temporalAddress: `127.0.0.1:${temporal}`,
    env,
    output: () => printed,
    cli: (...args) => run([join(root, 'control/cli/main.ts'), ...args], env),
    get,
    async waitFor(name, is, what, timeoutMs = 120_000) {
      const until = Date.now() + timeoutMs;
      let last: InferenceService | undefined;
      while (Date.now() < until) {
        last = await get(name);
        if (last && is(last)) return last;
        await sleep(200);
      }
      throw new Error(
        `${name} is not ${what} after ${timeoutMs} ms: ${JSON.stringify(last?.status)}\n${printed}`,
      );
    },
    waitReady: (name, timeoutMs) => stack.waitFor(name, isReady, 'ready', timeoutMs),
    start: (...args) => stack.startFrom(root, ...args),
    startFrom(folder, ...args) {
      parent = spawn(process.execPath, [join(folder, 'control/cli/main.ts'), 'up', ...args], {
        cwd: folder,
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const keep = (chunk: Buffer) => {
        printed = (printed + chunk.toString()).slice(-200_000);
      };
      parent.stdout?.on('data', keep);
      parent.stderr?.on('data', keep);
      return parent;
    },
    async interrupt() {
      if (parent?.exitCode !== null || parent.signalCode !== null) return parent?.exitCode ?? null;
      const ended = new Promise<number | null>((resolve) => parent?.once('exit', resolve));
      parent.kill('SIGINT');
      return ended;
    },
    async dispose() {
      parent?.kill('SIGKILL');
      for (const { pid } of processesOf(dataDir)) kill(pid);
      await sleep(200);
      rmSync(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    },
  };
  return stack;
}

export function isReady(object: InferenceService): boolean {
  const { status } = object;
  return (
    status?.conditions?.find((c) => c.type === 'Ready')?.status === 'True' &&
    status.observedGeneration === object.metadata.generation &&
    status.modelStatus?.transitionStatus === 'UpToDate'
  );
}

export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it has ended already
  }
}

/** Runs node with arguments to its end. */
export function run(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  command = process.execPath,
): Promise<CliResult> {
  return new Promise((resolve) => {
    execFile(
      command,
      [...args],
      { cwd: root, env, maxBuffer: 1 << 26, timeout: 300_000 },
      (error, stdout, stderr) => {
        const code = typeof error?.code === 'number' ? error.code : error ? 1 : 0;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
