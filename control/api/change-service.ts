import { randomUUID } from 'node:crypto';
import { MusterError } from '../../domain/errors.ts';
import { applyDefaults } from '../../domain/inference-service/defaults.ts';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { ApplyOutcome } from '../../domain/inference-service/messages.ts';
import { validateInferenceService } from '../../domain/inference-service/validation.ts';
import type { StoredService } from '../store/services.ts';
import { deletionOf } from '../store/services.ts';
import type { ApiContext } from './deps.ts';
import { timeOf } from './deps.ts';
import { FieldsError } from './problem.ts';

export type Outcome = 'created' | 'configured' | 'unchanged';

/**
 * The object as the server would store it: defaulted, validated in KServe's words, with the fields that belong to the
 * server taken from what is stored. Nothing is changed yet, and Temporal is not asked.
 *
 * @param given the manifest as parsed, its shape checked
 * @throws MusterError invalid_manifest with KServe's text, or conflict while the service is being deleted
 */
export function admit(
  given: InferenceService,
  namespace: string,
  name: string,
  previous: StoredService | null,
  now: string,
): InferenceService {
  agreeWithPath(given, namespace, name);
  if (previous !== null && isDeleting(previous)) {
    throw new MusterError(
      'conflict',
      `InferenceService ${namespace}/${name} is being deleted. Wait until it is gone, then apply again.`,
    );
  }
  const object = applyDefaults(ownedByServer(given, namespace, previous, now));
  const fault = validateInferenceService(object, previous?.object);
  if (fault !== null) throw new MusterError('invalid_manifest', fault);
  return object;
}

/** Applies a manifest: admit it, hand it to the workflow, store what the workflow took. */
export async function applyService(
  context: ApiContext,
  given: InferenceService,
  namespace: string,
  name: string,
): Promise<{ readonly object: InferenceService; readonly outcome: Outcome }> {
  const previous = await context.store.services.get(namespace, name);
  const object = admit(given, namespace, name, previous, timeOf(context));
  const outcome = await context.lifecycle.apply(object, previous?.generation ?? 0);
  const stored = await context.store.services.accept({
    object: withGeneration(outcome.object, outcome.generation),
    generation: outcome.generation,
    generationBefore: previous?.generation ?? 0,
  });
  context.observations.setService(stored);
  return { object: stored.object, outcome: outcomeOf(previous, outcome.changed) };
}

/** Stops or starts a service; its spec stays. */
export async function setServiceStopped(
  context: ApiContext,
  namespace: string,
  name: string,
  stopped: boolean,
): Promise<InferenceService> {
  return change(context, namespace, name, () => context.lifecycle.setStopped(namespace, name, stopped));
}

/** Lets a service sleep until a request wakes it. */
export async function putServiceToSleep(
  context: ApiContext,
  namespace: string,
  name: string,
): Promise<InferenceService> {
  return change(context, namespace, name, () => context.lifecycle.sleep(namespace, name));
}

async function change(
  context: ApiContext,
  namespace: string,
  name: string,
  ask: () => Promise<ApplyOutcome>,
): Promise<InferenceService> {
  const previous = await existing(context, namespace, name);
  const outcome = await ask();
  const stored = await context.store.services.accept({
    object: withGeneration(outcome.object, outcome.generation),
    generation: outcome.generation,
    generationBefore: previous.generation,
  });
  context.observations.setService(stored);
  return stored.object;
}

/** Begins the deletion of a service. @returns the object with deletion under way */
export async function deleteService(
  context: ApiContext,
  namespace: string,
  name: string,
): Promise<InferenceService> {
  const previous = await existing(context, namespace, name);
  const { services } = context.store;
  try {
    await context.lifecycle.remove(namespace, name);
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'not_found') throw error;
    // The object outlived its workflow (Temporal's data was lost): nobody else will ever remove it.
    await forgetService(context, namespace, name);
  }
  const deleting = await services.markDeleting(namespace, name, timeOf(context));
  if (deleting !== null) context.observations.setService(deleting);
  return (deleting ?? markedDeleting(previous, timeOf(context))).object;
}

/** Removes all that the store knows of a service. */
export async function forgetService(context: ApiContext, namespace: string, name: string): Promise<void> {
  await context.store.services.forget(namespace, name);
  context.observations.removeService(namespace, name);
  await context.routes.remove(namespace, name);
}

/** @throws MusterError not_found */
export async function existing(
  context: Pick<ApiContext, 'store'>,
  namespace: string,
  name: string,
): Promise<StoredService> {
  const stored = await context.store.services.get(namespace, name);
  if (stored === null) {
    throw new MusterError('not_found', `There is no InferenceService ${name} in namespace ${namespace}.`);
  }
  return stored;
}

function isDeleting(stored: StoredService): boolean {
  return stored.phase === 'Deleting' || deletionOf(stored.object) !== undefined;
}

function markedDeleting(stored: StoredService, time: string): StoredService {
  const metadata = { ...stored.object.metadata, deletionTimestamp: time };
  return { ...stored, object: { ...stored.object, metadata }, phase: 'Deleting' };
}

function agreeWithPath(given: InferenceService, namespace: string, name: string): void {
  const { metadata } = given;
  if (metadata.name !== name) {
    throw new FieldsError([
      { path: 'metadata.name', message: `metadata.name is "${metadata.name}", but the path names "${name}"` },
    ]);
  }
  if (metadata.namespace !== undefined && metadata.namespace !== namespace) {
    throw new FieldsError([
      {
        path: 'metadata.namespace',
        message: `metadata.namespace is "${metadata.namespace}", but the path names "${namespace}"`,
      },
    ]);
  }
}

/** Fields of metadata that are the server's to write; what a manifest says of them (it was read before) is dropped. */
function ownedByServer(
  given: InferenceService,
  namespace: string,
  previous: StoredService | null,
  now: string,
): InferenceService {
  const before = previous?.object.metadata;
  return {
    ...without(given, ['status']),
    metadata: {
      ...without(given.metadata, serverFields),
      namespace,
      uid: before?.uid ?? randomUUID(),
      creationTimestamp: before?.creationTimestamp ?? now.replace(/\.\d+Z$/, 'Z'),
    },
  };
}

const serverFields = [
  'generation',
  'resourceVersion',
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'managedFields',
];

function without<T extends object>(object: T, fields: readonly string[]): T {
  return Object.fromEntries(Object.entries(object).filter(([field]) => !fields.includes(field))) as T;
}

function withGeneration(object: InferenceService, generation: number): InferenceService {
  return { ...object, metadata: { ...object.metadata, generation } };
}

function outcomeOf(previous: StoredService | null, changed: boolean): Outcome {
  if (previous === null) return 'created';
  return changed ? 'configured' : 'unchanged';
}
