import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../../../domain/errors.ts';
import type { ProcessRecord, ReplicaRecord } from '../../../domain/node/records.ts';
import { fillCommand, serverEnvironment } from '../../../domain/node/command.ts';
import { exited, probed, started, stateOf, stopping, type Replica } from '../../../domain/node/replica.ts';
import type { Failure, ReplicaReport } from '../../../domain/node/report.schema.ts';
import type { Workload } from '../../../domain/workload/workload.ts';
import { logLimits, logPath, rotateLog, tailLog } from './log-file.ts';
import type { Ports } from './port.ts';
import { nextProbeMs, probe } from './probe.ts';
import { findByArguments, processIdentity } from './process-identity.ts';
import { spawnServer, stopServer, type Exit } from './process.ts';

/** What all replicas of a node share. */
export interface Node {
  readonly host: string;
  /** Working directory of servers: Muster's own folder. */
  readonly cwd: string;
  /** The agent's environment, of which servers get a small part. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly modelLogs: string;
  readonly ports: Ports;
  readonly now: () => number;
  readonly logger: Logger;
}

/** The revision as a replica sees it; it may be applied again while the replica lives. */
export interface RevisionView {
  readonly workload: Workload;
  readonly modelDir: string;
  readonly bin: readonly string[];
}

interface Live {
  readonly pid: number;
  readonly identity: string;
}

const aliveCheckMs = 1_000;

/**
 * One index of one revision: the process behind it, if any, and what is known of it. Effects only; which effect
 * is due is decided by `plan`. At most one process exists for a slot at any time.
 */
export class Slot {
  readonly index: number;
  replica: Replica;
  readonly #node: Node;
  readonly #revision: () => RevisionView;
  /** Called after each change; `isDurable` when it must be on disk before going on. */
  readonly #changed: () => void;
  #process: ProcessRecord | null = null;
  #live: Live | null = null;
  #starting: Promise<void> = Promise.resolve();
  #watch = new AbortController();
  #state: ReplicaReport['state'] = 'Starting';
  #sinceMs: number;

  constructor(index: number, node: Node, revision: () => RevisionView, changed: () => void) {
    this.index = index;
    this.#node = node;
    this.#revision = revision;
    this.#changed = changed;
    this.replica = started(index, undefined, node.now());
    this.#sinceMs = node.now();
  }

  record(): ReplicaRecord {
    return { replica: this.replica, process: this.#process };
  }

  /** Starts a process. The replica counts as running from here on, whatever comes. */
  start(): void {
    this.#set(started(this.index, this.replica, this.#node.now()));
    this.#starting = this.#start().catch(async (error: unknown) => {
      const text = messageOf(error);
      await this.#ended(null, { code: null, signal: null, error: `It could not be started: ${text}` });
    });
  }

  /** Takes over the process that an earlier agent started, if it still runs. @returns true when it does */
  async adopt(record: ReplicaRecord): Promise<boolean> {
    this.replica = record.replica;
    const process = record.process && (await this.#find(record.process));
    if (process?.pid && process.identity !== null) {
      this.#process = process;
      this.#node.ports.note(process.port);
      const { ready, readyChangedAtMs } = this.replica;
      // Ready until a probe says otherwise: routes must not blink because an agent restarted.
      this.#set({
        ...this.replica,
        phase: 'running',
        probeFailures: 0,
        hung: false,
        readyChangedAtMs: ready ? readyChangedAtMs : this.#node.now(),
      });
      this.#run({ pid: process.pid, identity: process.identity }, true);
      return true;
    }
    if (this.replica.phase === 'exited') return false;
    // It ended while nobody looked, perhaps with the whole machine: that is no crash of its own.
    const restarts = this.replica.restarts + 1;
    this.#set({ ...exited(stopping(this.replica, false), undefined, this.#node.now()), restarts });
    return false;
  }

  /** Ends the process and waits until it is gone. `hung`: nobody asked for it, so it is a crash. */
  async stop(hung: boolean): Promise<void> {
    const failure = hung ? await this.#hungFailure() : undefined;
    if (this.replica.phase !== 'running') return;
    this.#set(stopping(this.replica, hung, failure));
    await this.#starting;
    const live = this.#live;
    if (live) await this.#end(live);
    else if (this.#isStopping()) this.#set(exited(this.replica, undefined, this.#node.now()));
  }

  /** Stops watching; the process goes on. */
  leave(): void {
    this.#watch.abort();
  }

  async rotate(): Promise<void> {
    await rotateLog(this.#logPath());
  }

  async lastWords(): Promise<string> {
    const { failureLines, failureBytes } = logLimits;
    return (await tailLog(this.#logPath(), failureLines, failureBytes - 512)).trim();
  }

  report(): ReplicaReport {
    const { workload } = this.#revision();
    return {
      namespace: workload.namespace,
      name: workload.name,
      component: workload.component,
      revision: workload.revision,
      index: this.index,
      address: this.#address(),
      state: this.#state,
      restarts: this.replica.restarts,
      since: new Date(this.#sinceMs).toISOString(),
      ...(this.replica.failure && { failure: this.replica.failure }),
    };
  }

  /** Where gateways reach it: by gRPC when it speaks nothing else. */
  #address(): string {
    const scheme = speaksGrpcAlone(this.#revision().workload) ? 'grpc' : 'http';
    return `${scheme}://${this.#node.host}:${String(this.#mainPort())}`;
  }

  #mainPort(): number {
    const { port = 0, grpcPort } = this.#process ?? {};
    return speaksGrpcAlone(this.#revision().workload) ? (grpcPort ?? port) : port;
  }

  async #start(): Promise<void> {
    const { workload, modelDir, bin } = this.#revision();
    const port = await this.#node.ports.take();
    const grpcPort = usesGrpc(workload) ? await this.#node.ports.take() : 0;
    await this.rotate();
    if (this.replica.phase !== 'running') return;
    const { argv, env } = fillCommand(workload, { modelDir, port, grpcPort });
    const ports = { port, ...(grpcPort === 0 ? {} : { grpcPort }) };
    this.#process = { pid: null, identity: null, ...ports, argv };
    this.#changed();
    // The exit may be told at any time: before its identity is read, or after the next process was started.
    const own: { live: Live | null; isOver: boolean } = { live: null, isOver: false };
    const pid = spawnServer(
      {
        argv,
        env: serverEnvironment(this.#node.env, bin, env),
        cwd: this.#node.cwd,
        logPath: this.#logPath(),
      },
      (exit) => {
        own.isOver = true;
        void this.#ended(own.live, exit);
      },
    );
    const identity = pid === null ? null : await processIdentity(pid);
    if (pid === null || identity === null || own.isOver) return;
    own.live = { pid, identity };
    this.#process = { pid, identity, ...ports, argv };
    this.#node.logger.info({ ...this.#names(), pid, port }, 'server started');
    this.#run(own.live, false);
    this.#changed();
  }

  #run(live: Live, isAdopted: boolean): void {
    this.#live = live;
    this.#watch.abort();
    this.#watch = new AbortController();
    void this.#probe(live, this.#watch.signal);
    // Our own child tells when it ends; another agent's must be looked at.
    if (isAdopted) void this.#watchAlive(live, this.#watch.signal);
  }

  async #probe(live: Live, signal: AbortSignal): Promise<void> {
    // Without a path an open port is enough: the one that is asked later.
    const { path } = this.#revision().workload.readiness;
    const port = path === null ? this.#mainPort() : (this.#process?.port ?? 0);
    for (let attempts = 0; !signal.aborted; attempts++) {
      const { readiness } = this.#revision().workload;
      const isReady = await probe(readiness, this.#node.host, port, signal);
      if (signal.aborted || this.#live !== live) return;
      this.#set(probed(this.replica, isReady, readiness.failureThreshold, this.#node.now()));
      const isStarting = !this.replica.wasReady;
      await sleep(nextProbeMs(readiness, isStarting, attempts), undefined, { signal }).catch(() => undefined);
    }
  }

  async #watchAlive(live: Live, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(aliveCheckMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      if ((await processIdentity(live.pid)) !== live.identity) {
        await this.#ended(live, { code: null, signal: null });
        return;
      }
    }
  }

  async #end(live: Live): Promise<void> {
    for (;;) {
      try {
        await stopServer(live.pid, live.identity, this.#revision().workload.terminationGraceMs);
        await this.#ended(live, { code: null, signal: null });
        return;
      } catch (error) {
        this.#node.logger.error({ ...this.#names(), err: error, pid: live.pid }, 'server does not end');
      }
    }
  }

  /** The process `live` is gone. Told more than once, by different watchers: only the first counts. */
  async #ended(live: Live | null, exit: Exit): Promise<void> {
    if (live !== this.#live || this.replica.phase === 'exited') return;
    this.#live = null;
    this.#watch.abort();
    const wasReady = this.replica.wasReady;
    const failure = await this.#failure(describeExit(exit, wasReady), wasReady, exitCode(exit));
    if (this.#process) this.#process = { ...this.#process, pid: null, identity: null, argv: [] };
    const wasStopping = this.#isStopping();
    this.#set(exited(this.replica, wasStopping ? undefined : failure, this.#node.now()));
    const level = wasStopping ? 'info' : 'warn';
    this.#node.logger[level]({ ...this.#names(), ...exit, restarts: this.replica.restarts }, 'server ended');
  }

  async #find(recorded: ProcessRecord): Promise<ProcessRecord | null> {
    if (recorded.pid !== null && recorded.identity !== null) {
      return (await processIdentity(recorded.pid)) === recorded.identity ? recorded : null;
    }
    if (!recorded.argv.some((arg) => arg.includes(String(recorded.port)))) return null;
    for (const pid of await findByArguments(recorded.argv.slice(1))) {
      const identity = await processIdentity(pid);
      if (identity !== null) return { ...recorded, pid, identity };
    }
    return null;
  }

  async #hungFailure(): Promise<Failure> {
    const { startupTimeoutMs } = this.#revision().workload;
    const seconds = String(Math.round(startupTimeoutMs / 1000));
    return this.replica.wasReady
      ? await this.#failure(`The server was not ready for ${seconds} s and is replaced.`, true)
      : await this.#failure(`The server did not become ready within ${seconds} s.`, false);
  }

  async #failure(what: string, wasReady: boolean, code?: number): Promise<Failure> {
    const words = await this.lastWords();
    return {
      reason: wasReady ? 'RuntimeUnhealthy' : 'ModelLoadFailed',
      message: words === '' ? `${what} It wrote nothing.` : `${what} Its last words:\n${words}`,
      ...(code !== undefined && { exitCode: code }),
      time: new Date(this.#node.now()).toISOString(),
    };
  }

  /** A method, since the phase changes during awaits, which the compiler cannot see. */
  #isStopping(): boolean {
    return this.replica.phase === 'stopping';
  }

  #set(replica: Replica): void {
    const before = this.replica;
    this.replica = replica;
    const state = stateOf(replica);
    if (state !== this.#state) {
      this.#state = state;
      this.#sinceMs = this.#node.now();
    } else if (before.phase === replica.phase && before.failure === replica.failure) {
      return;
    }
    this.#changed();
  }

  #logPath(): string {
    return logPath(this.#node.modelLogs, this.#revision().workload, this.index);
  }

  #names(): object {
    const { namespace, name, revision } = this.#revision().workload;
    return { namespace, name, revision, index: this.index };
  }
}

function speaksGrpcAlone({ protocols }: Workload): boolean {
  return protocols.includes('grpc-v2') && !protocols.some((protocol) => !protocol.startsWith('grpc-'));
}

function usesGrpc({ command, args, env }: Workload): boolean {
  return [...command, ...args, ...env.map((e) => e.value)].some((text) =>
    /\{\{\s*\.GrpcPort\s*\}\}/.test(text),
  );
}

function describeExit(exit: Exit, wasReady: boolean): string {
  const when = wasReady ? '' : ' before it was ready';
  if (exit.error !== undefined) return exit.error;
  if (exit.signal !== null) return `The server was ended by ${exit.signal}${when}.`;
  if (exit.code !== null) return `The server ended with exit code ${String(exit.code)}${when}.`;
  return `The server ended${when}; its exit code is not known, since an earlier agent started it.`;
}

function exitCode(exit: Exit): number | undefined {
  if (exit.code !== null) return exit.code;
  const signal = exit.signal as NodeJS.Signals | null;
  return signal === null ? undefined : 128 + constants.signals[signal];
}
