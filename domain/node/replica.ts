import type { Failure, ReplicaReport } from './report.schema.ts';

/**
 * The life of one replica of a revision on one node, as values: what is known of it, and how each fact changes
 * that. No clock: `nowMs` is passed in. A replica is `running` (a process exists), `stopping` (it was told to
 * end) or `exited` (no process; `startAfterMs` says when the next may start).
 */
export interface Replica {
  readonly index: number;
  readonly phase: 'running' | 'stopping' | 'exited';
  /** When the present or last process was started. */
  readonly startedAtMs: number;
  /** The probe's present opinion. */
  readonly ready: boolean;
  /** When `ready` last changed or the process started. */
  readonly readyChangedAtMs: number;
  /** The present process has been ready at least once. */
  readonly wasReady: boolean;
  /** Any process of this replica has been ready at least once. */
  readonly everReady: boolean;
  /** Probes that failed in a row. */
  readonly probeFailures: number;
  /** Exits without 10 healthy minutes between them: what the backoff grows with. */
  readonly crashes: number;
  /** All restarts, for people. */
  readonly restarts: number;
  readonly startAfterMs: number;
  /** It is being stopped because it never became ready or hangs: its end counts as a crash. */
  readonly hung: boolean;
  readonly failure?: Failure;
}

export const restartPolicy = { firstMs: 1_000, maxMs: 300_000, resetAfterHealthyMs: 600_000 } as const;

/** Delay before the next start after `crashes` exits in a row: 1 s, 2 s, 4 s … 5 min. */
export function backoffMs(crashes: number): number {
  if (crashes <= 0) return 0;
  return Math.min(restartPolicy.maxMs, restartPolicy.firstMs * 2 ** Math.min(crashes - 1, 20));
}

/** A process was started for this index; `before` is what was known of the index. */
export function started(index: number, before: Replica | undefined, nowMs: number): Replica {
  return {
    index,
    phase: 'running',
    startedAtMs: nowMs,
    ready: false,
    readyChangedAtMs: nowMs,
    wasReady: false,
    everReady: before?.everReady ?? false,
    probeFailures: 0,
    crashes: before?.crashes ?? 0,
    restarts: before?.restarts ?? 0,
    startAfterMs: 0,
    hung: false,
    ...(before?.failure && { failure: before.failure }),
  };
}

/** A probe answered. A replica is ready on the first success, not ready after `failureThreshold` failures. */
export function probed(replica: Replica, ok: boolean, failureThreshold: number, nowMs: number): Replica {
  if (replica.phase !== 'running') return replica;
  if (ok) {
    const healthyMs = replica.ready ? nowMs - replica.readyChangedAtMs : 0;
    // What went wrong before is over; the log keeps it.
    const { failure: _, ...rest } = replica;
    return {
      ...rest,
      ready: true,
      wasReady: true,
      everReady: true,
      probeFailures: 0,
      readyChangedAtMs: replica.ready ? replica.readyChangedAtMs : nowMs,
      crashes: healthyMs >= restartPolicy.resetAfterHealthyMs ? 0 : replica.crashes,
    };
  }
  const probeFailures = replica.probeFailures + 1;
  if (!replica.ready || probeFailures < failureThreshold) return { ...replica, probeFailures };
  return { ...replica, probeFailures, ready: false, readyChangedAtMs: nowMs };
}

/** The process ended, or could not be started. */
export function exited(replica: Replica, failure: Failure | undefined, nowMs: number): Replica {
  const wasAsked = replica.phase === 'stopping' && !replica.hung;
  const healthyMs = replica.ready ? nowMs - replica.readyChangedAtMs : 0;
  const earlier = healthyMs >= restartPolicy.resetAfterHealthyMs ? 0 : replica.crashes;
  const crashes = wasAsked ? earlier : earlier + 1;
  const next: Replica = {
    ...replica,
    phase: 'exited',
    ready: false,
    readyChangedAtMs: nowMs,
    wasReady: false,
    probeFailures: 0,
    crashes,
    restarts: wasAsked ? replica.restarts : replica.restarts + 1,
    startAfterMs: wasAsked ? nowMs : nowMs + backoffMs(crashes),
  };
  return failure && !wasAsked ? { ...next, failure } : next;
}

/** The process was told to end: by nobody's wish when it is `hung`, and then `failure` says what it did not do. */
export function stopping(replica: Replica, hung: boolean, failure?: Failure): Replica {
  const next: Replica = { ...replica, phase: 'stopping', ready: false, hung };
  return failure ? { ...next, failure } : next;
}

/** A replica that never was ready and keeps ending: waiting longer will not cure its revision. */
export function hasFailedToLoad(replica: Replica): boolean {
  return !replica.everReady && replica.crashes >= 2;
}

/** Kubernetes' words for people. The first restart is no loop yet. */
export function stateOf(replica: Replica): ReplicaReport['state'] {
  switch (replica.phase) {
    case 'stopping':
      return 'Stopping';
    case 'exited':
      return replica.crashes >= 2 ? 'CrashLoopBackOff' : 'Starting';
    case 'running':
      if (replica.ready) return 'Ready';
      return replica.wasReady ? 'NotReady' : 'Starting';
  }
}
