import { SearchAttributeType, defineSearchAttributeKey } from '@temporalio/common';
import { setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import { canonicalJson } from '../../domain/inference-service/equal.ts';
import type { EntityState } from '../../domain/inference-service/reconcile.ts';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { Phase, RevisionRecord, ServingRevision } from '../../domain/inference-service/messages.ts';
import { currentDetails, inferenceServiceStatus, phaseOf } from '../../domain/inference-service/status.ts';
import type { Attempt, StatusFacts } from '../../domain/inference-service/status.ts';
import { modelUriOf } from '../../domain/workload/model-uri.ts';
import { Outbox } from './outbox.ts';

const keyword = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.KEYWORD);
const keys = {
  phase: keyword('MusterPhase'),
  namespace: keyword('MusterNamespace'),
  tenant: keyword('MusterTenant'),
  runtime: keyword('MusterRuntime'),
  model: keyword('MusterModel'),
  generation: defineSearchAttributeKey('MusterGeneration', SearchAttributeType.INT),
};

type RevisionLine = Pick<RevisionRecord, 'generation' | 'revision' | 'outcome' | 'message' | 'startedAt'> &
  Partial<Pick<RevisionRecord, 'runtime' | 'modelUri' | 'finishedAt'>>;

/**
 * One InferenceService while it lives: its state, and the one way to change what others see of it. Whoever changes
 * the state calls `changed()`, which derives status, phase, details and search attributes anew.
 */
export class Entity {
  readonly state: EntityState;
  readonly outbox: Outbox;
  private readonly namespace: string;
  private readonly name: string;
  private attempt: Attempt | null = null;
  private details = '';
  private phase: Phase | null = null;
  private told = '';

  constructor(state: EntityState, namespace: string, name: string) {
    this.state = state;
    this.namespace = namespace;
    this.name = name;
    this.outbox = new Outbox(() => ({ object: this.object, phase: phaseOf(this.facts()) }));
  }

  /** Desired state and status; only asked for once something was applied. */
  get object(): InferenceService {
    if (this.state.object === null) throw new TypeError('nothing was applied yet');
    return this.state.object;
  }

  /** What the attempt under way is doing; null when none is. */
  progress(attempt: Attempt | null, note = ''): void {
    this.attempt = attempt;
    this.details = note;
    this.changed();
  }

  changed(): void {
    const { state } = this;
    if (state.object === null) return;
    const facts = this.facts();
    const status = inferenceServiceStatus(facts, state.object.status, timestamp());
    state.object = { ...state.object, status };
    setCurrentDetails([currentDetails(facts), this.details].filter((part) => part !== '').join('\n\n'));
    const phase = phaseOf(facts);
    this.index(phase);
    // Facts, not the status made of them: a later build that words the status otherwise must publish as often, or
    // the histories of running entities would not replay.
    const told = canonicalJson({ ...facts, object: { ...state.object, status: undefined } });
    if (told === this.told) return;
    this.told = told;
    this.outbox.statusChanged();
  }

  event(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.outbox.event({
      namespace: this.namespace,
      name: this.name,
      type,
      reason,
      message,
      time: timestamp(),
    });
  }

  history(line: RevisionLine): void {
    const { runtime = null, modelUri = null, finishedAt = null, ...rest } = line;
    this.outbox.revision({
      namespace: this.namespace,
      name: this.name,
      ...rest,
      runtime,
      modelUri,
      finishedAt,
    });
  }

  /** The last line of a revision that served. */
  historyOf(serving: ServingRevision, outcome: RevisionRecord['outcome'], message: string): void {
    this.history({
      generation: serving.generation ?? 0,
      revision: serving.revision,
      runtime: serving.workload.runtime,
      modelUri: modelUriOf(serving.workload),
      startedAt: serving.startedAt ?? timestamp(),
      finishedAt: timestamp(),
      outcome,
      message,
    });
  }

  private facts(): StatusFacts {
    const { state, attempt } = this;
    const { generation, observedGeneration, stopped, asleep, deleting, serving, previousRevision } = state;
    const { failure, failedGeneration, withoutEffect } = state;
    return {
      object: this.object,
      generation,
      observedGeneration,
      stopped,
      asleep,
      deleting,
      attempt,
      serving,
      previousRevision,
      failure,
      failedGeneration,
      withoutEffect,
      ...state.site,
    };
  }

  /** Search attributes cost an event each time, so they are written when the phase changes. */
  private index(phase: Phase): void {
    if (phase === this.phase) return;
    this.phase = phase;
    const { serving, generation } = this.state;
    const runtime = this.attempt?.runtime ?? serving?.workload.runtime;
    upsertSearchAttributes([
      { key: keys.phase, value: phase },
      { key: keys.generation, value: generation },
      { key: keys.namespace, value: this.namespace },
      { key: keys.tenant, value: this.namespace },
      ...(serving ? [{ key: keys.model, value: serving.workload.modelName }] : []),
      ...(runtime ? [{ key: keys.runtime, value: runtime }] : []),
    ]);
  }
}

/** The workflow's clock: the same in every replay. */
export function timestamp(): string {
  return new Date().toISOString();
}
