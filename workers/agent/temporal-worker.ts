import { setTimeout as sleep } from 'node:timers/promises';
import { NativeConnection, Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { agentTaskQueue, type AgentActivities } from '../../domain/node/messages.ts';

export interface AgentWorkerDeps {
  readonly address: string;
  readonly namespace: string;
  readonly node: string;
  readonly activities: AgentActivities;
  readonly logger: Logger;
  readonly onConnected: (isConnected: boolean) => void;
}

const timing = { firstRetryMs: 500, maxRetryMs: 15_000, graceMs: 2_000, forceMs: 5_000 } as const;

/** Activities that run at once; waiting ones count, so it is far above what a node loads at a time. */
const maxActivities = 200;

/**
 * Polls this node's task queue for as long as the agent lives. Temporal may start later, go away and come back:
 * each time the worker is made anew, and the model servers notice nothing.
 */
export class AgentWorker {
  readonly #deps: AgentWorkerDeps;
  readonly #closing = new AbortController();
  #worker: Worker | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(deps: AgentWorkerDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Lets activities go: their servers are kept, and another agent goes on with them. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#worker?.getState() === 'RUNNING') this.#worker.shutdown();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#once();
        failures = 0;
      } catch (error) {
        failures += 1;
        const level = failures === 1 ? 'warn' : 'debug';
        this.#deps.logger[level]({ err: error, address: this.#deps.address }, 'Temporal does not answer');
      }
      const pauseMs = Math.min(timing.maxRetryMs, timing.firstRetryMs * 2 ** Math.min(failures, 10));
      if (!signal.aborted) await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #once(): Promise<void> {
    const { address, namespace, node, activities, logger, onConnected } = this.#deps;
    const connection = await NativeConnection.connect({ address });
    try {
      if (this.#closing.signal.aborted) return;
      const worker = await Worker.create({
        connection,
        namespace,
        taskQueue: agentTaskQueue(node),
        activities,
        identity: `agent-${node}`,
        maxConcurrentActivityTaskExecutions: maxActivities,
        shutdownGraceTime: timing.graceMs,
        shutdownForceTime: timing.forceMs,
      });
      this.#worker = worker;
      onConnected(true);
      logger.info({ address }, 'polling Temporal');
      const run = worker.run();
      // It may have been closed while the worker was made.
      if (this.#isClosing()) worker.shutdown();
      await run;
    } finally {
      this.#worker = null;
      onConnected(false);
      await connection.close().catch(() => undefined);
    }
  }

  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }
}
