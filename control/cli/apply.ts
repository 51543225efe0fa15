import { setTimeout as sleep } from 'node:timers/promises';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { Progress } from '../../domain/control/internal-api.schema.ts';
import type { ControlStatus } from '../../domain/control/status.schema.ts';
import { formatBytes } from './age.ts';
import type { Api } from './api.ts';
import { CliError, exitCodes } from './exit-codes.ts';
import { inferenceService, pathOf } from './kinds.ts';
import type { Manifest } from './manifests.ts';
import { failureOf, isReady, phaseOf } from './objects.ts';

export type Outcome = 'created' | 'configured' | 'unchanged';

/**
 * Refuses what would be refused, without changing anything. A local path that does not exist is refused here, but
 * only after the API had its say: its words about the rest of the manifest come first.
 */
export async function checkManifest(api: Api, manifest: Manifest): Promise<void> {
  const { kind, object, missing, source } = manifest;
  if (kind === inferenceService) await api.send('POST', '/apis/muster.dev/v1alpha1/plan', object);
  if (missing.length === 0) return;
  throw new CliError(
    `${source}: the model's files are missing, ${missing.join(' and ')} does not exist.`,
    exitCodes.refused,
  );
}

/** Sends one manifest. */
export async function applyManifest(api: Api, manifest: Manifest): Promise<Outcome> {
  const { kind, namespace, name, object, missing } = manifest;
  if (missing.length > 0) await checkManifest(api, manifest);
  const answer = await api.send('PUT', pathOf(kind, namespace, name), object);
  const outcome = answer.headers.get('x-muster-outcome');
  return (outcome ?? (answer.status === 201 ? 'created' : 'configured')) as Outcome;
}

export interface ServiceKey {
  readonly namespace: string;
  readonly name: string;
}

const POLL_MS = 250;

/**
 * Waits until the newest generation of a service serves.
 * @throws CliError with the reason when it cannot come up, or when the time is over
 */
export async function waitUntilReady(
  api: Api,
  key: ServiceKey,
  timeoutMs: number,
  say: (message: string) => void,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  let phase = '';
  while (performance.now() < deadline) {
    const service = (await api.get(pathOf(inferenceService, key.namespace, key.name))) as InferenceService;
    const message = await describeProgress(api, key, service);
    if (message !== phase) say(message);
    phase = message;
    if (isReady(service) && (await isServed(api, key))) return;
    const failure = failureOf(service);
    if (failure !== null) throw new CliError(`${key.name} did not come up. ${failure}`);
    if (phaseOf(service) === 'Asleep') return; // as good as ready: a request wakes it
    if (phaseOf(service) === 'Stopped')
      throw new CliError(`${key.name} is stopped. Start it: muster start ${key.name}`);
    await sleep(POLL_MS);
  }
  throw new CliError(
    `${key.name} is not ready after ${timeoutMs / 1000} s (${phase}). It goes on; look with: muster describe ${key.name}`,
  );
}

/**
 * Whether requests are answered now. The status of a service is a decision and outlives a restart of everything; its
 * servers do not: so a node must have been heard since, one of its replicas be ready, and a gateway know of it. An
 * API that cannot say is believed.
 */
export async function isServed(api: Api, { namespace, name }: ServiceKey): Promise<boolean> {
  const control = (await api
    .get('/apis/muster.dev/v1alpha1/status')
    .catch(() => null)) as ControlStatus | null;
  const progress = await progressOf(api);
  if (control === null || progress === null) return true;
  const isHeard = control.nodes.some(({ lastSeen }) => lastSeen !== null);
  const isUp = progress.replicas.some(
    (r) => r.namespace === namespace && r.name === name && r.state === 'Ready',
  );
  return isHeard && isUp && control.gateways.some(({ version }) => version >= control.routesVersion);
}

/** Long work under way; null when the API cannot say. */
export async function progressOf(api: Api): Promise<Progress | null> {
  return (await api.get('/apis/muster.dev/v1alpha1/progress').catch(() => null)) as Progress | null;
}

/** `Preparing, Download 12 MB of 93 MB`. */
export async function describeProgress(
  api: Api,
  key: ServiceKey,
  service: InferenceService,
): Promise<string> {
  const phase = phaseOf(service);
  if (phase === 'Ready' || phase === 'Failed' || phase === 'Degraded') return phase;
  const progress = await progressOf(api);
  const transfers = (progress?.transfers ?? []).filter(
    (t) => t.namespace === key.namespace && t.name === key.name,
  );
  return [phase, ...transfers.map(transferText)].filter((part) => part !== '').join(', ');
}

/** One transfer for people: `Download 12 MB of 93 MB`, `Environment: installing mlserver`. */
export function transferText({ phase, done, total, message }: Progress['transfers'][number]): string {
  if (total === null) return `${phase}: ${message}`;
  return `${phase} ${formatBytes(done)} of ${formatBytes(total)}`;
}

/** Waits until a service is gone. @throws CliError when the time is over */
export async function waitUntilGone(api: Api, key: ServiceKey, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if ((await api.find(pathOf(inferenceService, key.namespace, key.name))) === null) return;
    await sleep(POLL_MS);
  }
  throw new CliError(`${key.name} is still being deleted after ${timeoutMs / 1000} s.`);
}
