import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { Agent as HttpAgent, EnvHttpProxyAgent } from 'undici';
import { dataFolder } from '../../domain/process/data-folder.ts';
import type { Settings } from '../../domain/process/settings.schema.ts';
import type { NodeReport } from '../../domain/node/report.schema.ts';
import { agentActivities } from '../../activities/local/activities.ts';
import { Environments } from '../../activities/local/environment/environments.ts';
import { cleanEnvironments, pythonNotice } from '../../activities/local/environment/python.ts';
import { pruneLogs } from '../../activities/local/replica/log-file.ts';
import { Ports } from '../../activities/local/replica/port.ts';
import { Records } from '../../activities/local/replica/records.ts';
import { Supervisor } from '../../activities/local/replica/supervisor.ts';
import { ContentStore } from '../../activities/local/storage/content.ts';
import { defaultStorageLimits } from '../../activities/local/storage/fetcher.ts';
import { Models } from '../../activities/local/storage/models.ts';
import { Transfers } from '../../activities/local/transfers.ts';
import { AgentServer } from './http-server.ts';
import { agentMetrics } from './metrics.ts';
import { Reporter } from './reporter.ts';
import { AgentWorker } from './temporal-worker.ts';

export interface AgentDeps {
  readonly settings: Settings;
  /** Muster's own folder. */
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

export interface RunningAgent {
  readonly address: string;
  /** Ends the agent and, when the settings say so, its servers; bounded. */
  readonly close: () => Promise<void>;
}

/** From the first SIGTERM of servers to giving up on them. */
const closeLimitMs = 60_000;

/**
 * Puts the parts of a node agent together and starts them: first what needs only the disk (servers run again),
 * then what needs the control API, last what needs Temporal.
 */
export async function startAgent({ settings, root, env, logger }: AgentDeps): Promise<RunningAgent> {
  const folder = dataFolder(settings.dataDir);
  await mkdir(folder.root, { recursive: true, mode: 0o700 });
  const python = { folder: folder.environments, env };
  const store = new ContentStore(folder.models);
  const node = {
    host: '127.0.0.1',
    cwd: root,
    env,
    modelLogs: folder.modelLogs,
    ports: new Ports(),
    now: () => Date.now(),
    logger,
  };
  const supervisor = new Supervisor(node, new Records(folder.agent));
  await supervisor.start();
  // Nothing is fetched or made yet: the worker starts last.
  const modelDirs = supervisor.wanted().map((view) => view.modelDir);
  await Promise.all([
    cleanEnvironments(folder.environments),
    store.clean(Date.now(), modelDirs),
    pruneLogs(
      folder.modelLogs,
      Date.now(),
      supervisor.wanted().map((view) => view.workload),
    ),
  ]);

  const notices: string[] = [];
  let address = '';
  const readReport = (): { report: NodeReport; version: number } => {
    const { version, replicas } = supervisor.snapshot();
    const at = new Date().toISOString();
    const lists = { notices: [...notices], replicas: [...replicas], transfers: [...transfers.list()] };
    return { report: { node: settings.node, agentAddress: address, at, ...lists }, version };
  };
  const transfers = new Transfers(() => {
    reporter.poke();
  });
  const metrics = agentMetrics(
    () => supervisor.snapshot(),
    () => transfers.list().length,
  );
  const reporter = new Reporter({
    apiUrl: settings.apiUrl,
    node: settings.node,
    tokenFile: folder.internalToken,
    dispatcher: new HttpAgent({ connections: 1 }),
    read: readReport,
    logger,
    onOutcome: metrics.reported,
  });
  supervisor.changes.listen(() => {
    reporter.poke();
  });

  const server = new AgentServer({
    host: '127.0.0.1',
    tokenFile: folder.internalToken,
    modelLogs: folder.modelLogs,
    registry: metrics.registry,
    logger,
  });
  address = await server.listen();
  reporter.start();

  const storage = {
    root,
    env,
    dispatcher: new EnvHttpProxyAgent(),
    hubEndpoint: (env['HF_ENDPOINT'] ?? '').replace(/\/+$/, '') || 'https://huggingface.co',
    hubToken: env['HF_TOKEN'],
  };
  const models = new Models(store, storage, defaultStorageLimits, logger);
  const environments = new Environments(python, root);
  const worker = new AgentWorker({
    address: settings.temporalAddress,
    namespace: settings.temporalNamespace,
    node: settings.node,
    activities: agentActivities({ models, environments, supervisor, transfers, reports: reporter }),
    logger,
    onConnected: metrics.temporalConnected,
  });
  worker.start();
  void notePython(python, notices, reporter, logger);
  logger.info({ node: settings.node, address }, 'agent started');

  return {
    address,
    close: async () => {
      await Promise.race([worker.close(), sleep(closeLimitMs, undefined, { ref: false })]);
      await Promise.race([
        supervisor.close(settings.agentOnExit),
        sleep(closeLimitMs, undefined, { ref: false }),
      ]);
      await reporter.close();
      await server.close();
      logger.info({ servers: settings.agentOnExit }, 'agent ended');
    },
  };
}

async function notePython(
  python: Parameters<typeof pythonNotice>[0],
  notices: string[],
  reporter: Reporter,
  logger: Logger,
): Promise<void> {
  const notice = await pythonNotice(python, AbortSignal.timeout(60_000)).catch(() => null);
  if (notice === null) return;
  notices.push(notice);
  logger.warn({ notice }, 'python is not complete');
  reporter.poke();
}
