import { MusterError } from '../../domain/errors.ts';
import { dnsLabel, dnsSubdomain } from '../../domain/inference-service/dns-names.ts';
import { validateServingRuntime } from '../../domain/serving-runtime/validation.ts';
import type { AnyRuntime, RuntimeOutcome } from '../store/runtimes.ts';
import type { ApiContext } from './deps.ts';
import { timeOf } from './deps.ts';
import { FieldsError } from './problem.ts';

/**
 * Applies a (cluster) serving runtime: validated against those that exist, in KServe's words.
 *
 * @param namespace null: a ClusterServingRuntime
 */
export async function applyRuntime(
  context: ApiContext,
  given: AnyRuntime,
  namespace: string | null,
  name: string,
): Promise<{ readonly object: AnyRuntime; readonly outcome: RuntimeOutcome }> {
  if (given.metadata.name !== name) {
    throw new FieldsError([
      {
        path: 'metadata.name',
        message: `metadata.name is "${given.metadata.name}", but the path names "${name}"`,
      },
    ]);
  }
  const inManifest = given.metadata.namespace;
  if (namespace !== null && inManifest !== undefined && inManifest !== namespace) {
    throw new FieldsError([
      {
        path: 'metadata.namespace',
        message: `metadata.namespace is "${inManifest}", but the path names "${namespace}"`,
      },
    ]);
  }
  const wrong = nameFault(name, namespace);
  if (wrong !== null) throw new FieldsError([wrong]);
  const { runtimes } = context.store;
  const previous = await runtimes.get(namespace, name);
  const object = ownedByServer(given, namespace, previous, timeOf(context));
  const lists = await runtimes.lists(namespace ?? undefined);
  const existing = namespace === null ? lists.clusterServingRuntimes : lists.servingRuntimes;
  const fault = validateServingRuntime(object, existing, previous ?? undefined);
  if (fault !== null) throw new MusterError('invalid_manifest', fault);
  const outcome = await runtimes.put(object);
  context.observations.setRuntimesVersion(await runtimes.version());
  return { object, outcome };
}

/** Names that Kubernetes would take; the namespace may be from the path alone. */
function nameFault(name: string, namespace: string | null): { path: string; message: string } | null {
  if (!dnsSubdomain.test(name))
    return {
      path: 'metadata.name',
      message: 'metadata.name must be lower case letters, digits, "-" and ".", such as my-runtime',
    };
  if (namespace === null || (namespace.length <= 63 && dnsLabel.test(namespace))) return null;
  return {
    path: 'metadata.namespace',
    message: 'metadata.namespace must be lower case letters, digits and "-", such as team-a',
  };
}

/** Removes a runtime that no service uses. @returns what was removed */
export async function deleteRuntime(
  context: ApiContext,
  namespace: string | null,
  name: string,
): Promise<AnyRuntime> {
  const { runtimes } = context.store;
  const runtime = await existingRuntime(context, namespace, name);
  const users = await usersOf(context, namespace, name);
  if (users.length > 0) {
    throw new MusterError(
      'conflict',
      `${runtime.kind} ${name} is in use by ${users.join(', ')}. Delete those first, or give them another runtime.`,
    );
  }
  await runtimes.remove(namespace, name);
  context.observations.setRuntimesVersion(await runtimes.version());
  return runtime;
}

/** @throws MusterError not_found */
export async function existingRuntime(
  context: Pick<ApiContext, 'store'>,
  namespace: string | null,
  name: string,
): Promise<AnyRuntime> {
  const runtime = await context.store.runtimes.get(namespace, name);
  if (runtime !== null) return runtime;
  throw new MusterError(
    'not_found',
    namespace === null
      ? `There is no ClusterServingRuntime ${name}.`
      : `There is no ServingRuntime ${name} in namespace ${namespace}.`,
  );
}

/**
 * Services that name the runtime, or whose newest revision was made with it. A namespaced runtime stands before one of
 * the cluster with its name.
 */
async function usersOf(context: ApiContext, namespace: string | null, name: string): Promise<string[]> {
  const { services, runtimes, records } = context.store;
  const shadowed = new Set<string>();
  if (namespace === null) {
    for (const { metadata } of (await runtimes.lists()).servingRuntimes) {
      if (metadata.name === name) shadowed.add(metadata.namespace ?? 'default');
    }
  }
  const users: string[] = [];
  for (const { object } of await services.list(namespace ?? undefined)) {
    const of = object.metadata.namespace ?? 'default';
    if (shadowed.has(of)) continue;
    const named = object.spec.predictor.model?.runtime;
    const chosen = named ?? (await records.revisions(of, object.metadata.name))[0]?.runtime;
    if (chosen === name) users.push(`${of}/${object.metadata.name}`);
  }
  return users;
}

function ownedByServer(
  given: AnyRuntime,
  namespace: string | null,
  previous: AnyRuntime | null,
  now: string,
): AnyRuntime {
  const creationTimestamp = previous?.metadata.creationTimestamp ?? now.replace(/\.\d+Z$/, 'Z');
  const metadata = {
    ...given.metadata,
    ...(namespace === null ? {} : { namespace }),
    creationTimestamp,
  };
  return { ...given, metadata };
}
