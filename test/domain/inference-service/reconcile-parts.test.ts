import { describe, expect, test } from '@jest/globals';
import type { ReplicaFacts, ServingRevision } from '../../../domain/inference-service/messages.ts';
import { failureInfo } from '../../../domain/inference-service/reconcile-failure.ts';
import { observe } from '../../../domain/inference-service/reconcile-observed.ts';
import { RouteAssignment } from '../../../domain/route-table/route-table.schema.ts';
import { assignmentFor, drainTimeoutMs } from '../../../domain/inference-service/reconcile-routes.ts';
import { initialState } from '../../../domain/inference-service/reconcile.ts';
import type { EntityState } from '../../../domain/inference-service/reconcile.ts';
import type { Workload } from '../../../domain/workload/workload.ts';

const time = '2026-01-01T00:00:00Z';

describe('failureInfo', () => {
  test('prefers what the activity saw', () => {
    const seen = { reason: 'RuntimeUnhealthy', message: 'killed', exitCode: 137, time: 'then' };
    const info = failureInfo(
      { type: 'model_load_failed', message: 'x', details: [seen] },
      'r-1',
      'predictor',
      time,
    );
    expect(info).toEqual({ ...seen, location: 'predictor', modelRevisionName: 'r-1' });
  });

  test.each([
    ['no_supporting_runtime', 'NoSupportingRuntime'],
    ['runtime_not_recognized', 'RuntimeNotRecognized'],
    ['runtime_disabled', 'RuntimeDisabled'],
    ['invalid_predictor_spec', 'InvalidPredictorSpec'],
    ['storage_not_supported', 'InvalidPredictorSpec'],
    ['environment_missing', 'RuntimeUnhealthy'],
    ['storage_not_found', 'ModelLoadFailed'],
    ['timeout', 'ModelLoadFailed'],
    ['TypeError', 'ModelLoadFailed'],
  ])('calls %s %s', (type, reason) => {
    const info = failureInfo({ type, message: 'why', details: [] }, null, 'predictor', time);
    expect(info).toEqual({ location: 'predictor', reason, message: 'why', time });
  });

  test('cuts endless messages and ignores details of another shape', () => {
    const info = failureInfo(
      { type: 't', message: 'x'.repeat(9_000), details: [null] },
      null,
      'predictor',
      time,
    );
    expect(info.message).toHaveLength(4096);
  });
});

describe('assignmentFor', () => {
  const object = {
    apiVersion: 'serving.kserve.io/v1beta1' as const,
    kind: 'InferenceService' as const,
    metadata: {
      name: 'iris',
      namespace: 'shop',
      creationTimestamp: time,
      annotations: { 'muster.dev/aliases': 'flower' },
    },
    spec: { predictor: { timeout: 5 } },
  };
  const workload = { modelName: 'iris-v2', protocols: ['v1', 'v2'] } as unknown as Workload;

  test('sends all traffic to the revision, under every name of the model', () => {
    const facts = {
      object,
      generation: 3,
      state: 'Serving',
      message: '',
      workload,
      revision: 'r-3',
    } as const;
    expect(assignmentFor(facts)).toEqual({
      namespace: 'shop',
      name: 'iris',
      generation: 3,
      hosts: [],
      models: ['iris', 'iris-v2', 'flower'],
      upstreamModel: 'iris-v2',
      protocols: ['v1', 'v2'],
      timeoutMs: 5_000,
      state: 'Serving',
      message: '',
      createdAt: time,
      traffic: [{ revision: 'r-3', percent: 100 }],
    });
  });

  test('names a service that does not serve, so that requests are answered with the reason', () => {
    const facts = {
      object,
      generation: 1,
      state: 'Failed',
      message: 'no',
      workload: null,
      revision: null,
    } as const;
    expect(assignmentFor(facts)).toMatchObject({
      models: ['iris', 'flower'],
      upstreamModel: 'iris',
      traffic: [],
    });
  });

  test.each([
    [{ 'muster.dev/pass-authorization': 'true' }, true],
    [{ 'muster.dev/pass-authorization': 'yes' }, undefined],
    [{}, undefined],
  ])('hands Authorization on where the annotation says so plainly: %j', (annotations, expected) => {
    const facts = { generation: 1, state: 'Loading', message: '', workload: null, revision: null } as const;
    const annotated = { ...object, metadata: { ...object.metadata, annotations } };
    const route = assignmentFor({ ...facts, object: annotated });
    expect(route.passAuthorization).toBe(expected);
    expect(RouteAssignment.parse(route).passAuthorization).toBe(expected);
  });

  const withExtensions = (predictor: object) =>
    assignmentFor({
      object: {
        ...object,
        metadata: { ...object.metadata, annotations: { team: 'blue', secret: 'no' } },
        spec: { predictor },
      },
      generation: 1,
      state: 'Loading',
      message: '',
      workload: null,
      revision: null,
    });

  test("takes a service's logger along, with the values of the annotations that it names", () => {
    const logger = {
      url: 'http://sink',
      mode: 'request',
      metadataHeaders: ['X-A'],
      metadataAnnotations: ['team', 'none'],
    };
    expect(withExtensions({ logger }).logger).toEqual({
      url: 'http://sink',
      mode: 'request',
      metadataHeaders: ['X-A'],
      annotations: { team: 'blue' },
    });
    expect(withExtensions({ logger: { mode: 'all' } }).logger).toEqual({ mode: 'all' });
    expect(withExtensions({})).not.toHaveProperty('logger');
  });

  test.each([
    [{}, { maxBatchSize: 32, maxLatencyMs: 5_000, timeoutMs: 60_000 }],
    [
      { maxBatchSize: -1, maxLatency: -1 },
      { maxBatchSize: 32, maxLatencyMs: 5_000, timeoutMs: 60_000 },
    ],
    [
      { maxBatchSize: 4, maxLatency: 50, timeout: 3 },
      { maxBatchSize: 4, maxLatencyMs: 50, timeoutMs: 3_000 },
    ],
  ])('takes its batcher along: %j', (batcher, expected) => {
    expect(withExtensions({ batcher }).batcher).toEqual(expected);
    expect(RouteAssignment.safeParse(withExtensions({ batcher })).success).toBe(true);
    expect(withExtensions({})).not.toHaveProperty('batcher');
  });

  test('drains for as long as a request may take', () => {
    expect(drainTimeoutMs(object)).toBe(5_000);
    expect(drainTimeoutMs({ ...object, spec: { predictor: {} } })).toBe(60_000);
  });
});

describe('observe', () => {
  const revision = 'iris-predictor-00001';
  const serving = {
    revision,
    component: 'predictor',
    ready: 2,
    workload: { replicas: 2 },
  } as unknown as ServingRevision;
  const failure = { reason: 'RuntimeUnhealthy', message: 'killed', exitCode: 137, time };
  const state = (change: Partial<EntityState> = {}): EntityState => ({
    ...initialState(undefined),
    serving,
    ...change,
  });
  const facts = (change: Partial<ReplicaFacts> = {}): ReplicaFacts => ({
    revision,
    known: true,
    ready: 2,
    total: 2,
    ...change,
  });

  test('ignores facts about revisions that do not serve', () => {
    expect(observe(state(), facts({ revision: 'iris-predictor-00000' }))).toBeNull();
    expect(observe(state({ serving: null }), facts())).toBeNull();
  });

  test('notes that replicas are gone, with the reason', () => {
    const seen = observe(state(), facts({ ready: 1, failure }));
    expect(seen).toMatchObject({
      serving: { ready: 1 },
      lost: null,
      failure: { reason: 'RuntimeUnhealthy', modelRevisionName: revision, location: 'predictor' },
      event: { type: 'Warning', reason: 'InferenceServiceNotReady' },
    });
    expect(seen?.event?.message).toContain('1 of 2 replicas');
  });

  test('says once that all is well again, and forgets the failure', () => {
    const before = state({ serving: { ...serving, ready: 0 }, failure });
    expect(observe(before, facts())).toMatchObject({
      failure: null,
      event: { reason: 'InferenceServiceReady' },
    });
    expect(observe(state(), facts())?.event).toBeNull();
  });

  test('wants a revision restored that no node knows, and not twice', () => {
    const seen = observe(state(), facts({ known: false, ready: 0, total: 0 }));
    expect(seen).toMatchObject({ serving: { ready: 0 }, lost: { failures: 0, nextAtMs: 0 } });
    const waiting = { failures: 3, nextAtMs: 99 };
    expect(observe(state({ lost: waiting }), facts({ known: false }))?.lost).toBe(waiting);
  });

  test('keeps the reason of a failed update, which says more than replicas of the old revision', () => {
    const why = { ...failure, message: 'new one does not load' };
    expect(observe(state({ failure: why, failedGeneration: 2 }), facts())?.failure).toBe(why);
    expect(observe(state({ failure: why, failedGeneration: 2 }), facts({ ready: 0, failure }))?.failure).toBe(
      why,
    );
  });
});
