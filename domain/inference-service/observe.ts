import type { Observation } from '../control/internal-api.schema.ts';
import type { ReplicaReport } from '../node/report.schema.ts';
import type { ReplicaFacts } from './messages.ts';

/**
 * Which entities are to be woken, decided from what nodes report and from what was told before. Reports are samples
 * and come all the time; an entity's history takes transitions only. So a change must last a moment before it is
 * told, is told once, and is told again only while the entity visibly does not know it.
 */
export type Wake =
  | {
      readonly kind: 'replicas';
      readonly key: string;
      readonly service: ServiceKey;
      readonly facts: ReplicaFacts;
    }
  | { readonly kind: 'retry'; readonly key: string; readonly service: ServiceKey; readonly version: number };

export interface ServiceKey {
  readonly namespace: string;
  readonly name: string;
}

/** How long a change must last; how far apart two signals about one revision are; when an untaken one is repeated. */
export const debounceMs = 1_000;
export const spacingMs = 5_000;
export const repeatMs = 60_000;

interface Seen {
  /** What is the case now, and since when. */
  readonly signature: string;
  readonly sinceMs: number;
  /** What the entity was last told, and when. */
  readonly told: string | null;
  readonly toldAtMs: number;
}

/** What the observer remembers: one entry a revision in traffic and one a service, nothing else. */
export interface Memory {
  readonly revisions: ReadonlyMap<string, Seen>;
  /** Version of the runtimes that each service was last tried with, as far as is known. */
  readonly tried: ReadonlyMap<string, { readonly version: number; readonly isInvalid: boolean }>;
  readonly runtimesVersion: number | null;
}

export const blank: Memory = { revisions: new Map(), tried: new Map(), runtimesVersion: null };

/**
 * Takes in one observation.
 *
 * @returns the memory after it, and the signals that are due; the caller confirms those that it could send
 */
export function look(
  memory: Memory,
  observation: Observation,
  nowMs: number,
): { readonly memory: Memory; readonly wakes: readonly Wake[] } {
  const revisions = new Map<string, Seen>();
  const tried = new Map<string, { version: number; isInvalid: boolean }>();
  const wakes: Wake[] = [];
  for (const service of observation.services) {
    const key = `${service.namespace}/${service.name}`;
    const attempt = triedWith(memory, observation, key, service.transitionStatus === 'InvalidSpec');
    tried.set(key, attempt);
    if (attempt.isInvalid && attempt.version < observation.runtimesVersion) {
      wakes.push({ kind: 'retry', key, service: keyOf(service), version: observation.runtimesVersion });
    }
    for (const revision of service.revisions) {
      const id = `${key}/${revision}`;
      const before = memory.revisions.get(id);
      // Nobody is heard of: what their replicas do is unknown, and the last known facts stay.
      if (observation.nodes.length === 0) {
        if (before) revisions.set(id, before);
        continue;
      }
      const facts = factsOf(observation.replicas, service, revision);
      const seen = see(before, facts, isKnown(service, facts), nowMs);
      revisions.set(id, seen);
      if (isDue(seen, isKnown(service, facts), nowMs)) {
        wakes.push({ kind: 'replicas', key: id, service: keyOf(service), facts });
      }
    }
  }
  return { memory: { revisions, tried, runtimesVersion: observation.runtimesVersion }, wakes };
}

/** Notes that a signal was sent. */
export function confirm(memory: Memory, wake: Wake, nowMs: number): Memory {
  if (wake.kind === 'retry') {
    const tried = new Map(memory.tried);
    const before = tried.get(wake.key);
    if (before) tried.set(wake.key, { ...before, version: wake.version });
    return { ...memory, tried };
  }
  const revisions = new Map(memory.revisions);
  const seen = revisions.get(wake.key);
  if (seen) revisions.set(wake.key, { ...seen, told: signatureOf(wake.facts), toldAtMs: nowMs });
  return { ...memory, revisions };
}

type Service = Observation['services'][number];

function keyOf({ namespace, name }: Service): ServiceKey {
  return { namespace, name };
}

function factsOf(replicas: readonly ReplicaReport[], service: Service, revision: string): ReplicaFacts {
  const mine = replicas.filter(
    (replica) =>
      replica.namespace === service.namespace &&
      replica.name === service.name &&
      replica.revision === revision,
  );
  const running = mine.filter(({ state }) => state !== 'Stopping');
  const ready = running.filter(({ state }) => state === 'Ready').length;
  const failure = running.find((replica) => replica.state !== 'Ready' && replica.failure)?.failure;
  return {
    revision,
    known: mine.length > 0,
    ready,
    total: running.length,
    ...(failure ? { failure } : {}),
  };
}

/** Without the failure's text: a server that crashes again with other last words is the same fact. */
function signatureOf({ known, ready, total, failure }: ReplicaFacts): string {
  return `${known} ${ready} ${total} ${failure?.reason ?? ''}`;
}

/** Whether what the service says of itself agrees with the facts, so that its entity needs not be told. */
function isKnown({ phase, transitionStatus }: Service, { known, ready, total }: ReplicaFacts): boolean {
  const isFull = known && total > 0 && ready === total;
  if (phase === 'Ready') return isFull;
  if (phase !== 'Degraded') return true;
  const isFailedUpdate = transitionStatus === 'BlockedByFailedLoad' || transitionStatus === 'InvalidSpec';
  return isFailedUpdate || !isFull;
}

function see(before: Seen | undefined, facts: ReplicaFacts, known: boolean, nowMs: number): Seen {
  const signature = signatureOf(facts);
  if (before === undefined) {
    // Met for the first time: the entity knows it when its own status agrees.
    return { signature, sinceMs: nowMs, told: known ? signature : null, toldAtMs: Number.NEGATIVE_INFINITY };
  }
  return before.signature === signature ? before : { ...before, signature, sinceMs: nowMs };
}

function isDue(seen: Seen, known: boolean, nowMs: number): boolean {
  if (nowMs - seen.sinceMs < debounceMs || nowMs - seen.toldAtMs < spacingMs) return false;
  if (seen.signature !== seen.told) return true;
  return !known && nowMs - seen.toldAtMs >= repeatMs;
}

/**
 * A service that no runtime fits is tried again when the runtimes change. It was tried with the runtimes of the
 * moment in which it was first seen as not (or not yet) invalid, or later; so it may be tried once too often, and
 * never too seldom. A new observer knows nothing and has each such service tried once.
 */
function triedWith(
  memory: Memory,
  observation: Observation,
  key: string,
  isInvalid: boolean,
): { version: number; isInvalid: boolean } {
  const before = memory.tried.get(key);
  if (before?.isInvalid === isInvalid || (before && isInvalid)) return { ...before, isInvalid };
  if (before === undefined && isInvalid) return { version: memory.runtimesVersion ?? -1, isInvalid };
  return { version: observation.runtimesVersion, isInvalid };
}
