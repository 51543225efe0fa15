import { describe, expect, test } from '@jest/globals';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { AnyRuntime } from '../../../domain/serving-runtime/select.ts';
import { changedPaths } from '../../../domain/workload/changes.ts';
import { planChange } from '../../../domain/workload/plan.ts';
import { PlanReport } from '../../../domain/workload/plan.schema.ts';
import { resolve } from '../../../domain/workload/resolve.ts';
import {
  clusterRuntime,
  format,
  lists,
  localRuntime,
  serviceOf,
  serviceWith,
} from '../../fixtures/domain/objects.ts';

const python = localRuntime('mlserver', {}, { 'muster.dev/local-environment': 'python: a==1 b==2' });
const stock = clusterRuntime('stock', { supportedModelFormats: [format('onnx')], protocolVersions: ['v1'] });

function plan(previous: InferenceService | null, next: InferenceService, ...runtimes: readonly AnyRuntime[]) {
  const object = applyDefaults(next);
  const resolved = resolve(object, lists(...runtimes), previous === null ? 1 : 2, 'local');
  const report = planChange(previous === null ? null : applyDefaults(previous), resolved, object);
  expect(PlanReport.parse(report)).toEqual(report);
  return report;
}

describe('a plan', () => {
  test('of a new service says what will run, why this runtime, and what happens', () => {
    const next = serviceWith({
      model: { modelFormat: { name: 'onnx' }, storageUri: 'hf://org/iris' },
      minReplicas: 2,
      logger: { mode: 'all' },
    });
    expect(plan(null, next, python, stock)).toEqual({
      namespace: 'default',
      name: 'iris',
      action: 'Create',
      refusal: null,
      revision: 'iris-predictor-00001',
      runtime: {
        kind: 'ClusterServingRuntime',
        name: 'mlserver',
        why: 'mlserver comes first among the runtimes that serve onnx over v1 here',
        others: [{ name: 'stock', why: 'it needs containers' }],
      },
      node: 'local',
      protocols: ['v1', 'v2'],
      replicas: 2,
      models: ['hf://org/iris'],
      command: ['node', 'server.ts', '--model_name=iris'],
      environment: 'python: a==1 b==2',
      withoutEffect: ['spec.predictor.logger'],
      changes: [],
      steps: [
        'A python environment with a==1 b==2 is made on node local, unless it is there already.',
        'The model is fetched from hf://org/iris, unless node local has it already.',
        '2 replicas of revision iris-predictor-00001 start on node local with runtime mlserver, and must be ready within 120 seconds.',
        'The gateway routes requests to it once its replicas are ready.',
        'These fields have no effect yet on this platform: spec.predictor.logger.',
      ],
    });
  });

  test('of a change says what changes, and that the old revision serves meanwhile', () => {
    const report = plan(serviceOf({ args: ['a'] }), serviceOf({ args: ['b'] }), localRuntime());
    expect(report).toMatchObject({
      action: 'Update',
      revision: 'iris-predictor-00002',
      changes: ['spec.predictor.model.args'],
    });
    expect(report.steps).toEqual([
      '1 replica of revision iris-predictor-00002 starts on node local with runtime local-onnx, and must be ready within 120 seconds.',
      'All requests move to the new revision once its replicas are ready; until then, and if they do not come up, the old revision serves.',
      'The old revision ends its requests and is stopped.',
    ]);
  });

  test('of the same object is no change, whatever the order of keys', () => {
    const report = plan(
      serviceOf({ storageUri: '/m', args: [] }),
      serviceOf({ args: [], storageUri: '/m' }),
      localRuntime(),
    );
    expect(report).toMatchObject({ action: 'NoChange', changes: [] });
    expect(report.steps).toEqual(['Nothing changes: what is deployed is the same.']);
  });

  test('names the runtime that the service names', () => {
    expect(plan(null, serviceOf({ runtime: 'mlserver' }), python).runtime?.why).toBe(
      'the service names mlserver',
    );
  });

  test('that is refused says why, and plans nothing', () => {
    expect(plan(null, serviceOf({ runtime: 'nope' }), python)).toMatchObject({
      action: 'Refused',
      refusal: { code: 'runtime_not_recognized', reason: 'RuntimeNotRecognized' },
      revision: null,
      runtime: null,
      steps: [],
    });
  });
});

test('changed paths name labels and annotations by their keys', () => {
  const before = serviceOf({}, { labels: { a: '1' }, annotations: { 'muster.dev/aliases': 'x' } });
  const after = serviceOf({ storageUri: '/m' }, { labels: { a: '2' }, annotations: {} });
  expect(changedPaths(before, after)).toEqual([
    "metadata.annotations['muster.dev/aliases']",
    'metadata.labels.a',
    'spec.predictor.model.storageUri',
  ]);
  expect(changedPaths(before, before)).toEqual([]);
});
