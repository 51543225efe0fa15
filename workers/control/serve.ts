import { NativeConnection } from '@temporalio/worker';
import type { Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import type { BatchActivities } from '../../domain/batch/messages.ts';
import type { ControlActivities } from '../../domain/inference-service/messages.ts';
import type { LedgerActivities } from '../../domain/ledger/messages.ts';
import type { WorkflowBundle } from '../bundle.ts';
import { pause, persist } from '../retry.ts';
import type { Persistence } from '../retry.ts';
import { createSchedules } from './schedules.ts';
import { hasCurrentBuild, makeCurrent, registerSearchAttributes } from './server.ts';
import { createControlWorker } from './worker.ts';

export interface ServeOptions {
  readonly address: string;
  readonly namespace: string;
  readonly bundle: WorkflowBundle;
  readonly activities: ControlActivities & BatchActivities & LedgerActivities;
  readonly log: Logger;
  /** Aborted when the process is to end. */
  readonly signal: AbortSignal;
}

const restartMs = 2_000;
const recheckMs = 30_000;

/**
 * Serves workflows until told to end. The Temporal server may come up later, go away for hours or come back empty:
 * none of that ends the process; whatever ends the worker is logged, and it is made anew.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { log, signal } = options;
  while (!signal.aborted) {
    try {
      await serveOnce(options);
    } catch (err) {
      if (signal.aborted) log.warn({ err }, 'the worker did not end cleanly');
      else log.error({ err }, 'the worker ended; it starts again');
    }
    await pause(restartMs, signal);
  }
}

async function serveOnce(options: ServeOptions): Promise<void> {
  const { address, namespace, bundle, log } = options;
  const connection = await persist(
    () => NativeConnection.connect({ address }),
    patience(options, `Temporal at ${address} does not answer yet`),
  );
  if (connection === undefined) return;
  try {
    await persist(
      () => registerSearchAttributes(connection, namespace),
      patience(options, 'search attributes could not be registered yet'),
    );
    const worker = await persist(
      () => createControlWorker({ connection, namespace, bundle, activities: options.activities }),
      patience(options, 'the worker could not start yet'),
    );
    if (worker === undefined) return;
    log.info({ address, namespace, buildId: bundle.buildId }, 'control worker polls');
    await runWorker(worker, connection, options);
  } finally {
    await connection.close();
  }
}

async function runWorker(worker: Worker, connection: NativeConnection, options: ServeOptions): Promise<void> {
  const { signal } = options;
  const ended = new AbortController();
  const stop = (): void => {
    if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  signal.addEventListener('abort', stop, { once: true });
  const running = worker.run();
  const current = keepCurrent(connection, options, AbortSignal.any([signal, ended.signal]));
  if (signal.aborted) stop();
  try {
    await running;
  } finally {
    ended.abort();
    signal.removeEventListener('abort', stop);
    await current;
  }
}

/**
 * Makes this build the current one once, and again only when the server has none: of several workers with different
 * builds the one that started last decides, and the others do not fight it.
 */
async function keepCurrent(
  connection: NativeConnection,
  options: ServeOptions,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, bundle, log } = options;
  let isDue = true;
  while (!signal.aborted) {
    if (isDue) {
      await persist(
        async () => {
          await registerSearchAttributes(connection, namespace);
          await makeCurrent(connection, namespace, bundle.buildId);
          await createSchedules(connection, namespace);
        },
        // The server knows the build only once it has seen it poll, so that the first tries may fail.
        { ...patience(options, 'this build could not be made the current one yet', 8), signal, firstMs: 100 },
      );
      if (!signal.aborted) log.info({ buildId: bundle.buildId }, 'this build is the current one');
    }
    await pause(recheckMs, signal);
    isDue = !signal.aborted && !(await hasCurrentBuild(connection, namespace).catch(() => true));
  }
}

/** Waits from half a second up to ten, and logs the first failure and then every tenth. */
function patience({ log, signal }: ServeOptions, message: string, firstLogged = 1): Persistence {
  return {
    signal,
    firstMs: 500,
    maxMs: 10_000,
    onFailure: (err, tries) => {
      if (tries === firstLogged || tries % 10 === 0) log.warn({ err, tries }, message);
    },
  };
}
