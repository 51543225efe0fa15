import { ApplicationFailure, Context } from '@temporalio/activity';
import type {
  AgentActivities,
  ApplyRevisionInput,
  ApplyRevisionOutcome,
  AwaitRevisionInput,
  FetchedModels,
  FetchModelsInput,
  PrepareEnvironmentInput,
} from '../../domain/node/messages.ts';
import { MusterError } from '../../domain/errors.ts';
import { areNames } from '../../domain/node/command.ts';
import { hasFailedToLoad } from '../../domain/node/replica.ts';
import type { Failure } from '../../domain/node/report.schema.ts';
import { revisionId, type RevisionKey } from '../../domain/workload/workload.ts';
import { waitForChange, type Changes } from './changes.ts';
import type { Environments } from './environment/environments.ts';
import { toFailure } from './failures.ts';
import type { Supervisor } from './replica/supervisor.ts';
import type { Models } from './storage/models.ts';
import type { Transfer, Transfers } from './transfers.ts';

export interface AgentParts {
  readonly models: Models;
  readonly environments: Environments;
  readonly supervisor: Supervisor;
  readonly transfers: Transfers;
  /** What the control API knows of this node. */
  readonly reports: {
    /** Version of the last report that was accepted; see Supervisor's snapshot. */
    readonly acceptedVersion: number;
    readonly accepted: Changes;
  };
}

/** How often a waiting activity tells Temporal that it lives; the SDK sends fewer where that is enough. */
const heartbeatMs = 1_000;

/** The activities of one node. They only order and wait: what runs, runs without Temporal. */
export function agentActivities(parts: AgentParts): AgentActivities {
  return {
    fetchModels: (input) => guarded(input, () => fetchModels(parts, input)),
    prepareEnvironment: (input) => guarded(input, () => prepareEnvironment(parts, input)),
    applyRevision: (input) => guarded(input.workload, () => applyRevision(parts, input)),
    awaitRevision: (input) => guarded(input, () => awaitRevision(parts, input)),
    removeRevision: (input) =>
      guarded(input, async () => ({
        stopped: await heartbeating(
          parts.supervisor.remove(revisionId(input), Context.current().cancellationSignal),
        ),
      })),
  };
}

async function guarded<T>(key: RevisionKey, work: () => Promise<T>): Promise<T> {
  try {
    if (!areNames(key.namespace, key.name, key.component, key.revision)) {
      throw new MusterError('invalid_manifest', `${revisionId(key)} does not consist of Kubernetes names.`);
    }
    return await work();
  } catch (error) {
    throw toFailure(error);
  }
}

async function fetchModels(parts: AgentParts, input: FetchModelsInput): Promise<FetchedModels> {
  const transfer = parts.transfers.begin(input, 'Download', 'waiting');
  try {
    return await heartbeating(parts.models.fetch(input.models, caller(transfer)), transfer);
  } finally {
    transfer.end();
  }
}

async function prepareEnvironment(parts: AgentParts, input: PrepareEnvironmentInput): Promise<void> {
  if (input.environment.kind === 'node') return;
  const transfer = parts.transfers.begin(input, 'Environment', 'waiting');
  try {
    await heartbeating(parts.environments.prepare(input.environment, caller(transfer)), transfer);
  } finally {
    transfer.end();
  }
}

function caller(transfer: Transfer): Parameters<Models['fetch']>[1] {
  const context = Context.current();
  return {
    signal: context.cancellationSignal,
    onProgress: (progress) => {
      transfer.update(progress);
      context.heartbeat(transfer.report());
    },
  };
}

async function applyRevision(parts: AgentParts, input: ApplyRevisionInput): Promise<ApplyRevisionOutcome> {
  const { workload, modelDir } = input;
  const { cancellationSignal: signal } = Context.current();
  // It was prepared before; where its folder was lost since, it is made again.
  await parts.environments.prepare(workload.environment, { signal, onProgress: () => undefined });
  const bin = await parts.environments.bin(workload.environment, signal);
  return parts.supervisor.apply({ workload, modelDir, bin });
}

async function awaitRevision(
  { supervisor, reports }: AgentParts,
  input: AwaitRevisionInput,
): Promise<{ readonly ready: number; readonly addresses: readonly string[] }> {
  const context = Context.current();
  const deadlineMs = performance.now() + input.timeoutMs;
  let seen = { addresses: '', version: 0 };
  for (;;) {
    const { version } = supervisor.snapshot();
    const known = supervisor.inspect(revisionId(input));
    if (!known) {
      throw new MusterError(
        'not_found',
        `${revisionId(input)} is not applied on this node: apply it before waiting.`,
      );
    }
    const ready = known.reports.filter((r) => r.index < input.replicas && r.state === 'Ready');
    if (ready.length >= input.replicas) {
      // Ready is not enough: traffic may only be sent once the control API can tell gateways where to.
      const addresses = ready.map((r) => r.address);
      if (seen.addresses !== addresses.join()) seen = { addresses: addresses.join(), version };
      if (reports.acceptedVersion >= seen.version) return { ready: ready.length, addresses };
    } else {
      const failed = known.replicas.find((r) => r.index < input.replicas && hasFailedToLoad(r));
      if (failed) throw loadFailed(failed.failure, 'The server ended twice before it was ready.');
      if (performance.now() >= deadlineMs) {
        const late = known.replicas.find((r) => r.index < input.replicas && !r.ready);
        const words = await supervisor.lastWords(revisionId(input), late?.index ?? 0);
        throw timedOut({ failure: late?.failure, words, ready: ready.length }, input);
      }
    }
    context.heartbeat({ ready: ready.length, replicas: input.replicas });
    await waitForChange([supervisor.changes, reports.accepted], context.cancellationSignal, heartbeatMs);
  }
}

function timedOut(
  late: { readonly failure: Failure | undefined; readonly words: string; readonly ready: number },
  input: AwaitRevisionInput,
): ApplicationFailure {
  const seconds = String(Math.round(input.timeoutMs / 1000));
  const waited = `${late.ready} of ${input.replicas} replicas became ready within ${seconds} s.`;
  if (late.failure)
    return loadFailed({ ...late.failure, message: `${waited} ${late.failure.message}` }, waited);
  return loadFailed(
    undefined,
    late.words === '' ? waited : `${waited} The server's last words:\n${late.words}`,
  );
}

/** The last words of the server travel as details, for lastFailureInfo. */
function loadFailed(failure: Failure | undefined, otherwise: string): ApplicationFailure {
  const message = (failure?.message ?? otherwise).slice(0, 4096);
  const exitCode = failure?.exitCode;
  return ApplicationFailure.create({
    type: 'model_load_failed',
    message,
    nonRetryable: true,
    details: [{ reason: 'ModelLoadFailed', message, ...(exitCode !== undefined && { exitCode }) }],
  });
}

/** Heartbeats while something long is awaited, so that a cancellation is noticed and a dead agent too. */
async function heartbeating<T>(work: Promise<T>, transfer?: Transfer): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => {
    context.heartbeat(transfer?.report());
  }, heartbeatMs);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}
