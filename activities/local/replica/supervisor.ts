import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicaRecord } from '../../../domain/node/records.ts';
import { plan, type Action } from '../../../domain/node/plan.ts';
import type { Replica } from '../../../domain/node/replica.ts';
import type { ReplicaReport } from '../../../domain/node/report.schema.ts';
import { revisionId } from '../../../domain/workload/workload.ts';
import { Changes, waitForChange } from '../changes.ts';
import type { Records } from './records.ts';
import { Slot, type Node, type RevisionView } from './slot.ts';

export interface Snapshot {
  /** Grows with every change that a report would show. */
  readonly version: number;
  readonly replicas: readonly ReplicaReport[];
}

interface Revision {
  readonly id: string;
  view: RevisionView;
  isWanted: boolean;
  readonly slots: Map<number, Slot>;
}

const rotateEveryMs = 5_000;

/**
 * Keeps the desired replicas of this node running: observe, plan, apply, on every change and when a wait is over.
 * It needs the disk and nothing else: neither Temporal nor the control API takes part.
 */
export class Supervisor {
  readonly changes = new Changes();
  readonly #node: Node;
  readonly #records: Records;
  readonly #revisions = new Map<string, Revision>();
  readonly #closing = new AbortController();
  readonly #stops = new Set<Promise<void>>();
  #version = 1;
  #timer: NodeJS.Timeout | undefined;
  #isPlanning = false;
  #hasLeft = false;

  constructor(node: Node, records: Records) {
    this.#node = node;
    this.#records = records;
  }

  /** Reads what was wanted, adopts what still runs, and starts the rest. */
  async start(): Promise<void> {
    const { logger } = this.#node;
    const records = await this.#records.load((file, error) => {
      logger.error({ file, err: error }, 'desired state is not readable and was set aside');
    });
    for (const record of records) {
      const { workload, modelDir, bin, isWanted, replicas } = record;
      const revision = this.#revision(revisionId(workload), { workload, modelDir, bin });
      revision.isWanted = isWanted;
      await Promise.all(replicas.map((r) => this.#adopt(revision, r)));
    }
    void this.#rotate();
    this.#reconcile();
  }

  /** Makes the revision wanted with so many replicas; durable before anything starts. */
  apply(view: RevisionView): { readonly started: number; readonly kept: number; readonly stopped: number } {
    const id = revisionId(view.workload);
    const revision = this.#revision(id, view);
    const isAnother = programOf(revision.view) !== programOf(view);
    revision.view = view;
    revision.isWanted = true;
    this.#records.save(id, this.#record(revision), true);
    // Revisions are immutable, but a name can come back with other contents when Temporal's history was lost: what
    // runs must be what was applied.
    if (isAnother) for (const slot of revision.slots.values()) void slot.stop(false);
    const kept = [...revision.slots.values()].filter((s) => isKept(s, view.workload.replicas)).length;
    const actions = this.#reconcile().filter((action) => action.id === id);
    const count = (kind: Action['kind']): number => actions.filter((action) => action.kind === kind).length;
    return { started: count('start'), kept, stopped: count('stop') };
  }

  /** Stops the revision's servers, waits until they are gone and forgets it. @returns how many were stopped */
  async remove(id: string, signal: AbortSignal): Promise<number> {
    const revision = this.#revisions.get(id);
    if (!revision) return 0;
    const stopped = [...revision.slots.values()].filter((slot) => slot.replica.phase !== 'exited').length;
    revision.isWanted = false;
    this.#reconcile();
    try {
      this.#records.save(id, this.#record(revision), true);
    } catch (error) {
      // A full disk must not keep anything from being stopped: that is how people make room.
      this.#node.logger.warn({ err: error, revision: id }, 'the end of a revision could not be written down');
    }
    // `get` again each time: it is forgotten when its last slot is gone, or wanted again by another call.
    while (this.#revisions.get(id)?.isWanted === false) await waitForChange([this.changes], signal, 1_000);
    return stopped;
  }

  /** Replicas of a revision with their states, or null when it is not wanted here. */
  inspect(
    id: string,
  ): { readonly replicas: readonly Replica[]; readonly reports: readonly ReplicaReport[] } | null {
    const revision = this.#revisions.get(id);
    if (!revision?.isWanted) return null;
    const slots = [...revision.slots.values()].sort((a, b) => a.index - b.index);
    return { replicas: slots.map((s) => s.replica), reports: slots.map((s) => s.report()) };
  }

  /** The last lines of a replica's log. */
  async lastWords(id: string, index: number): Promise<string> {
    return (await this.#revisions.get(id)?.slots.get(index)?.lastWords()) ?? '';
  }

  snapshot(): Snapshot {
    const slots = [...this.#revisions.values()].flatMap((revision) => [...revision.slots.values()]);
    return { version: this.#version, replicas: slots.map((slot) => slot.report()) };
  }

  /** Workloads that this node is to run. */
  wanted(): readonly RevisionView[] {
    return [...this.#revisions.values()].filter((r) => r.isWanted).map((r) => r.view);
  }

  /** `stop` ends all servers, gracefully, and `leave` leaves them; both keep the desired state for the next start. */
  async close(mode: 'stop' | 'leave'): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    const slots = [...this.#revisions.values()].flatMap((revision) => [...revision.slots.values()]);
    if (mode === 'stop') await Promise.all([...slots.map((slot) => slot.stop(false)), ...this.#stops]);
    this.#hasLeft = true;
    for (const slot of slots) slot.leave();
  }

  #reconcile(): readonly Action[] {
    if (this.#closing.signal.aborted || this.#isPlanning) return [];
    const revisions = [...this.#revisions.values()];
    const { actions, nextAtMs } = plan(
      revisions.filter((r) => r.isWanted).map((r) => desired(r)),
      revisions.map((r) => ({ id: r.id, replicas: [...r.slots.values()].map((slot) => slot.replica) })),
      this.#node.now(),
    );
    // Actions change slots, and slots tell of changes: one plan at a time, and one more after it.
    this.#isPlanning = true;
    for (const action of actions) this.#act(action);
    this.#isPlanning = false;
    for (const revision of revisions) {
      if (!revision.isWanted && revision.slots.size === 0) this.#forget(revision);
    }
    clearTimeout(this.#timer);
    if (nextAtMs !== null) {
      const waitMs = Math.min(Math.max(0, nextAtMs - this.#node.now()), 60_000);
      this.#timer = setTimeout(() => this.#reconcile(), waitMs + 1);
    }
    if (actions.length > 0) this.#notify();
    return actions;
  }

  #act(action: Action): void {
    const revision = this.#revisions.get(action.id);
    if (!revision) return;
    if (action.kind === 'start') {
      const slot = revision.slots.get(action.index) ?? this.#slot(revision, action.index);
      slot.start();
      return;
    }
    if (action.kind === 'forget') {
      revision.slots.delete(action.index);
      this.#save(revision);
      return;
    }
    const stop = revision.slots.get(action.index)?.stop(action.why === 'hung');
    if (!stop) return;
    this.#stops.add(stop);
    void stop.finally(() => this.#stops.delete(stop));
  }

  async #adopt(revision: Revision, record: ReplicaRecord): Promise<void> {
    const slot = this.#slot(revision, record.replica.index);
    const isAlive = await slot.adopt(record);
    if (isAlive) this.#node.logger.info({ revision: revision.id, index: slot.index }, 'server adopted');
  }

  #revision(id: string, view: RevisionView): Revision {
    const known = this.#revisions.get(id);
    if (known) return known;
    const revision: Revision = { id, view, isWanted: true, slots: new Map() };
    this.#revisions.set(id, revision);
    return revision;
  }

  #slot(revision: Revision, index: number): Slot {
    const changed = (): void => {
      // Another agent may own the records by now.
      if (this.#hasLeft) return;
      this.#save(revision);
      this.#notify();
      this.#reconcile();
    };
    const slot = new Slot(index, this.#node, () => revision.view, changed);
    revision.slots.set(index, slot);
    return slot;
  }

  #forget(revision: Revision): void {
    this.#revisions.delete(revision.id);
    this.#records.delete(revision.id);
    this.#notify();
  }

  /** A full disk must not stop servers: what cannot be written is logged and written at the next change. */
  #save(revision: Revision): void {
    if (this.#revisions.get(revision.id) !== revision) return;
    try {
      this.#records.save(revision.id, this.#record(revision), false);
    } catch (error) {
      this.#node.logger.error({ revision: revision.id, err: error }, 'state could not be written');
    }
  }

  #record(revision: Revision): Parameters<Records['save']>[1] {
    const replicas = [...revision.slots.values()].map((slot) => slot.record());
    return { version: 1, ...revision.view, isWanted: revision.isWanted, replicas };
  }

  #notify(): void {
    this.#version += 1;
    this.changes.notify();
  }

  async #rotate(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      for (const revision of this.#revisions.values()) {
        for (const slot of revision.slots.values()) {
          await slot.rotate().catch((error: unknown) => {
            this.#node.logger.warn({ revision: revision.id, err: error }, 'log could not be rotated');
          });
        }
      }
      await sleep(rotateEveryMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }
}

function desired({ id, view }: Revision): Parameters<typeof plan>[0][number] {
  return { id, replicas: view.workload.replicas, startupTimeoutMs: view.workload.startupTimeoutMs };
}

/** What a replica runs, as text to compare. Not how many, nor where this build of Muster keeps its programs. */
function programOf({ workload, modelDir }: RevisionView): string {
  const { command, args, env, environment } = workload;
  return JSON.stringify([command, args, env, environment, modelDir]);
}

function isKept(slot: Slot, replicas: number): boolean {
  return slot.index < replicas && slot.replica.phase === 'running';
}
