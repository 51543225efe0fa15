import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LastFailureInfo } from '../../../domain/inference-service/inference-service.schema.ts';
import type { ServingRevision } from '../../../domain/inference-service/messages.ts';
import { InferenceServiceStatus } from '../../../domain/inference-service/inference-service.schema.ts';
import {
  currentDetails,
  inferenceServiceStatus,
  phaseOf,
  type Attempt,
  type StatusFacts,
} from '../../../domain/inference-service/status.ts';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import { resolve } from '../../../domain/workload/resolve.ts';
import { lists, localRuntime, serviceOf } from '../../fixtures/domain/objects.ts';

const now = '2026-11-24T10:00:00Z';
const later = '2026-11-24T10:05:00Z';
const object = applyDefaults(serviceOf({ storageUri: '/m' }));

function serving(generation: number, ready = 1, replicas = 1): ServingRevision {
  const resolved = resolve(object, lists(localRuntime()), generation, 'local');
  if (!resolved.ok) throw new Error(resolved.error);
  const { workload } = resolved.resolution;
  const { namespace, name, component, revision } = workload;
  return {
    namespace,
    name,
    component,
    revision,
    node: 'local',
    workload: { ...workload, replicas },
    modelDir: '/data/m',
    addresses: ['http://127.0.0.1:9'],
    ready,
  };
}

const attempt = (step: Attempt['step'], generation = 1): Attempt => ({
  generation,
  step,
  revision: `iris-predictor-0000${generation}`,
  runtime: 'local-onnx',
});

function failure(reason: string, message = 'For testing'): LastFailureInfo {
  return { reason, message, time: now, ...(reason === 'ModelLoadFailed' ? { exitCode: 1 } : {}) };
}

function facts(more: Partial<StatusFacts> = {}): StatusFacts {
  return {
    object,
    generation: 1,
    observedGeneration: 1,
    stopped: false,
    deleting: false,
    attempt: null,
    serving: null,
    previousRevision: null,
    failure: null,
    failedGeneration: null,
    withoutEffect: [],
    gatewayUrl: 'http://127.0.0.1:8080',
    domain: 'example.com',
    ...more,
  };
}

const fresh = facts({ observedGeneration: 0 });
const ready = facts({ serving: serving(1) });
const updating = facts({ generation: 2, serving: serving(1), attempt: attempt('Starting', 2) });
const updateFailed = facts({
  generation: 2,
  observedGeneration: 2,
  serving: serving(1),
  failure: failure('ModelLoadFailed'),
  failedGeneration: 2,
});
const failed = facts({ failure: failure('ModelLoadFailed'), failedGeneration: 1 });
const stopped = facts({ stopped: true });

const statusOf = (given: StatusFacts) => inferenceServiceStatus(given, undefined, now);
const condition = (given: StatusFacts, type: string) =>
  statusOf(given).conditions?.find((candidate) => candidate.type === type);

describe('the phase', () => {
  const cases: readonly [string, StatusFacts, string][] = [
    ['nothing happened yet', fresh, 'Pending'],
    ['a runtime is chosen', facts({ attempt: attempt('Resolving') }), 'Resolving'],
    ['an update starts', updating, 'Starting'],
    ['all replicas are ready', ready, 'Ready'],
    ['a replica is missing', facts({ serving: serving(1, 1, 2) }), 'Degraded'],
    ['a newer generation waits', facts({ generation: 2, serving: serving(1) }), 'Pending'],
    ['an update failed, the old revision serves', updateFailed, 'Degraded'],
    ['nothing serves', failed, 'Failed'],
    [
      'a failure of an older generation does not count',
      facts({ generation: 2, observedGeneration: 1, failure: failure('X'), failedGeneration: 1 }),
      'Pending',
    ],
    ['it stops', facts({ stopped: true, serving: serving(1) }), 'Stopping'],
    ['it is stopped', stopped, 'Stopped'],
    ['it is deleted, whatever else', facts({ deleting: true, stopped: true }), 'Deleting'],
  ];
  test.each(cases)('%s', (_name, given, expected) => {
    expect(phaseOf(given)).toBe(expected);
  });
});

describe('conditions', () => {
  const overview = (given: StatusFacts) =>
    Object.fromEntries((statusOf(given).conditions ?? []).map(({ type, status }) => [type, status]));
  const cases: readonly [string, StatusFacts, readonly [string, string, string, string]][] = [
    // Ready, PredictorReady, IngressReady, LatestDeploymentReady
    ['fresh', fresh, ['Unknown', 'Unknown', 'Unknown', 'Unknown']],
    ['starting', facts({ attempt: attempt('Starting') }), ['Unknown', 'Unknown', 'Unknown', 'Unknown']],
    ['ready', ready, ['True', 'True', 'True', 'True']],
    ['updating', updating, ['True', 'True', 'True', 'Unknown']],
    ['update failed, the old revision serves', updateFailed, ['True', 'True', 'True', 'False']],
    ['failed', failed, ['False', 'False', 'Unknown', 'False']],
    ['no replica ready', facts({ serving: serving(1, 0) }), ['False', 'False', 'True', 'False']],
    ['stopped', stopped, ['False', 'False', 'False', 'False']],
    ['deleting', facts({ deleting: true, serving: serving(1) }), ['False', 'False', 'False', 'False']],
  ];
  test.each(cases)('%s', (_name, given, [readyStatus, predictor, ingress, latest]) => {
    expect(overview(given)).toMatchObject({
      Ready: readyStatus,
      PredictorReady: predictor,
      IngressReady: ingress,
      LatestDeploymentReady: latest,
      Stopped: given.stopped ? 'True' : 'False',
    });
  });

  test('are sorted by type; only three have the error’s severity', () => {
    const conditions = statusOf(ready).conditions ?? [];
    const types = conditions.map(({ type }) => type);
    expect(types).toEqual([...types].sort());
    expect(conditions.filter(({ severity }) => severity === undefined).map(({ type }) => type)).toEqual([
      'IngressReady',
      'PredictorReady',
      'Ready',
    ]);
    expect(conditions.every(({ severity }) => severity === undefined || severity === 'Info')).toBe(true);
  });
  test('a failed update says why, where it does not hurt', () => {
    expect(condition(updateFailed, 'LatestDeploymentReady')).toMatchObject({
      reason: 'ModelLoadFailed',
      message: 'For testing',
    });
  });
  test('Ready copies the reason of the predictor', () => {
    expect(condition(failed, 'Ready')).toEqual({
      type: 'Ready',
      status: 'False',
      reason: 'ModelLoadFailed',
      message: 'For testing',
      lastTransitionTime: now,
    });
  });
  test('fields without effect are listed, and are no reason not to be Ready', () => {
    const given = { ...ready, withoutEffect: ['spec.transformer', 'spec.predictor.logger'] };
    expect(condition(given, 'AllFieldsInEffect')).toMatchObject({
      status: 'False',
      severity: 'Info',
      reason: 'NoEffectYet',
      message: 'Set, but without effect yet on this platform: spec.transformer, spec.predictor.logger',
    });
    expect(condition(given, 'Ready')?.status).toBe('True');
  });
  test('keep the time of their last change', () => {
    const first = statusOf(ready);
    const second = inferenceServiceStatus(updateFailed, first, later);
    const at = (type: string) => second.conditions?.find((one) => one.type === type)?.lastTransitionTime;
    expect(at('Ready')).toBe(now);
    expect(at('LatestDeploymentReady')).toBe(later);
    const third = inferenceServiceStatus(
      { ...updateFailed, failure: failure('ModelLoadFailed', 'Other') },
      second,
      '2027',
    );
    expect(third.conditions?.find(({ type }) => type === 'LatestDeploymentReady')?.lastTransitionTime).toBe(
      '2027',
    );
  });
  test('the False dependent that changed last gives its reason', () => {
    const before = inferenceServiceStatus(stopped, undefined, now);
    const conditions = (before.conditions ?? []).map((one) =>
      one.type === 'IngressReady' ? { ...one, message: 'older', lastTransitionTime: '2020' } : one,
    );
    const status = inferenceServiceStatus(stopped, { ...before, conditions }, later);
    expect(status.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({ reason: 'Stopped' });
  });
});

describe('the model', () => {
  const cases: readonly [string, StatusFacts, string, string, string, string | undefined][] = [
    // transitionStatus, target, active, lastFailureInfo.reason
    ['fresh', fresh, 'InProgress', 'Pending', '', undefined],
    ['resolving', facts({ attempt: attempt('Resolving') }), 'InProgress', 'Pending', '', undefined],
    ['fetching', facts({ attempt: attempt('Preparing') }), 'InProgress', 'Loading', '', undefined],
    ['loaded', ready, 'UpToDate', 'Loaded', 'Loaded', undefined],
    ['updating', updating, 'InProgress', 'Loading', 'Loaded', undefined],
    ['load failed', failed, 'BlockedByFailedLoad', 'FailedToLoad', '', 'ModelLoadFailed'],
    ['update failed', updateFailed, 'BlockedByFailedLoad', 'FailedToLoad', 'Loaded', 'ModelLoadFailed'],
    [
      'loaded after a failure',
      { ...ready, failure: failure('ModelLoadFailed') },
      'UpToDate',
      'Loaded',
      'Loaded',
      undefined,
    ],
    [
      'tried again after a failure',
      { ...failed, attempt: attempt('Starting') },
      'InProgress',
      'Loading',
      '',
      'ModelLoadFailed',
    ],
    [
      'all replicas lost',
      facts({ serving: serving(1, 0), failure: failure('RuntimeUnhealthy') }),
      'InProgress',
      'Pending',
      'Pending',
      'RuntimeUnhealthy',
    ],
    ...(
      ['RuntimeNotRecognized', 'RuntimeDisabled', 'NoSupportingRuntime', 'InvalidPredictorSpec'] as const
    ).map(
      (reason) =>
        [
          reason,
          facts({ failure: failure(reason), failedGeneration: 1 }),
          'InvalidSpec',
          'FailedToLoad',
          '',
          reason,
        ] as [string, StatusFacts, string, string, string, string],
    ),
  ];
  test.each(cases)('%s', (_name, given, transitionStatus, targetModelState, activeModelState, reason) => {
    const { modelStatus } = statusOf(given);
    expect(modelStatus).toMatchObject({ transitionStatus, states: { activeModelState, targetModelState } });
    expect(modelStatus?.lastFailureInfo?.reason).toBe(reason);
  });
  test('copies count all replicas', () => {
    expect(statusOf(facts({ serving: serving(1, 2, 3) })).modelStatus?.copies).toEqual({
      failedCopies: 1,
      totalCopies: 2,
    });
    expect(statusOf(failed).modelStatus?.copies).toBeUndefined();
  });
  test('the exit code is kept', () => {
    expect(statusOf(failed).modelStatus?.lastFailureInfo).toEqual(failure('ModelLoadFailed'));
  });
});

describe('addresses and revisions', () => {
  test('of a service that serves', () => {
    const status = statusOf({ ...ready, previousRevision: 'iris-predictor-00000' });
    const urls = {
      url: 'http://iris-default.example.com',
      address: { url: 'http://127.0.0.1:8080/serving/default/iris' },
    };
    expect(status).toMatchObject({ ...urls, observedGeneration: 1 });
    expect(status.components).toEqual({
      predictor: {
        ...urls,
        latestCreatedRevision: 'iris-predictor-00001',
        latestReadyRevision: 'iris-predictor-00001',
        latestRolledoutRevision: 'iris-predictor-00001',
        previousRolledoutRevision: 'iris-predictor-00000',
        traffic: [{ revisionName: 'iris-predictor-00001', latestRevision: true, percent: 100 }],
      },
    });
  });
  test('during an update and after a failed one, traffic stays with the old revision', () => {
    for (const given of [updating, updateFailed]) {
      expect(statusOf(given).components?.['predictor']).toMatchObject({
        latestCreatedRevision: 'iris-predictor-00002',
        latestReadyRevision: 'iris-predictor-00001',
        traffic: [{ revisionName: 'iris-predictor-00001', latestRevision: false, percent: 100 }],
      });
    }
  });
  test('a spec that cannot be resolved makes no revision', () => {
    const given = { ...updateFailed, failure: failure('NoSupportingRuntime') };
    expect(statusOf(given).components?.['predictor']?.latestCreatedRevision).toBe('iris-predictor-00001');
    const nothing = facts({ failure: failure('NoSupportingRuntime'), failedGeneration: 1 });
    expect(statusOf(nothing).components?.['predictor']).toEqual({});
  });
  test('a service that sleeps keeps its address, since a request to it wakes it', () => {
    const asleep = facts({ asleep: true });
    expect(inferenceServiceStatus(asleep, undefined, now)).toMatchObject({
      url: 'http://iris-default.example.com',
      components: { predictor: { url: 'http://iris-default.example.com' } },
    });
    expect(phaseOf(asleep)).toBe('Asleep');
    expect(currentDetails(asleep)).toContain('- Address: ');
  });

  test('a stopped service has none', () => {
    expect(Object.keys(statusOf(stopped)).sort()).toEqual(['conditions', 'observedGeneration']);
  });
  test('the mode is the one that the service asks for', () => {
    const annotated = serviceOf({}, { annotations: { 'serving.kserve.io/deploymentMode': 'Standard' } });
    expect(statusOf({ ...ready, object: annotated }).deploymentMode).toBe('RawDeployment');
    expect(statusOf(ready).deploymentMode).toBeUndefined();
  });
});

const anyFacts: fc.Arbitrary<StatusFacts> = fc
  .record({
    generation: fc.constantFrom(1, 2),
    observedGeneration: fc.constantFrom(0, 1, 2),
    stopped: fc.boolean(),
    deleting: fc.boolean(),
    attempt: fc.constantFrom(null, attempt('Resolving', 2), attempt('Preparing', 2), attempt('Routing', 2)),
    serving: fc.constantFrom(null, serving(1), serving(2), serving(1, 0), serving(2, 1, 2)),
    failure: fc.constantFrom(null, failure('ModelLoadFailed'), failure('RuntimeDisabled')),
    failedGeneration: fc.constantFrom(null, 1, 2),
  })
  .map((more) => facts(more));

describe('always', () => {
  test('the status fits its schema, and computing it again changes nothing', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const status = statusOf(given);
        expect(InferenceServiceStatus.parse(status)).toEqual(status);
        expect(inferenceServiceStatus(given, status, later)).toEqual(status);
      }),
    );
  });
  test('Ready is True exactly when predictor and ingress are; True has no reason and no message', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const conditions = statusOf(given).conditions ?? [];
        const by = new Map(conditions.map((one) => [one.type, one.status]));
        expect(by.get('Ready') === 'True').toBe(
          by.get('PredictorReady') === 'True' && by.get('IngressReady') === 'True',
        );
        for (const one of conditions.filter(({ status }) => status === 'True')) {
          expect(one).not.toHaveProperty('reason');
          expect(one).not.toHaveProperty('message');
        }
      }),
    );
  });
  test('the phase Ready means the condition Ready', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const isReady = condition(given, 'Ready')?.status === 'True';
        expect(phaseOf(given) !== 'Ready' || isReady).toBe(true);
      }),
    );
  });
});

describe('details for people', () => {
  test('say what serves, what is under way, what failed and what has no effect', () => {
    const text = currentDetails({
      ...updating,
      failure: failure('ModelLoadFailed', 'line one\nline two'),
      withoutEffect: ['spec.transformer'],
    });
    expect(text).toBe(
      [
        '## default/iris: Starting',
        '',
        '- Serving: revision iris-predictor-00001 on runtime local-onnx, node local, 1 of 1 replicas ready',
        '- Address: http://127.0.0.1:8080/serving/default/iris',
        '- Under way: generation 2, revision iris-predictor-00002 on runtime local-onnx: servers are coming up',
        `- Last failure (${now}): **ModelLoadFailed** line one line two`,
        '- Set, but without effect yet: `spec.transformer`',
      ].join('\n'),
    );
  });
  test('stay short, however long a server’s last words are', () => {
    expect(
      currentDetails({ ...failed, failure: failure('ModelLoadFailed', 'x'.repeat(9000)) }).length,
    ).toBeLessThan(1000);
  });
  test('of a stopped service say that the spec is kept', () => {
    expect(currentDetails(stopped)).toContain('Stopped: nothing runs, the spec is kept');
    expect(currentDetails(fresh)).toContain('Nothing serves yet');
  });
});
