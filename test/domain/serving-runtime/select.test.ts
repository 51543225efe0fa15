import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { candidates, selectRuntime } from '../../../domain/serving-runtime/select.ts';
import {
  clusterRuntime,
  format,
  lists,
  serviceOf,
  serviceWith,
  servingRuntime,
} from '../../fixtures/domain/objects.ts';

const both = ['v1', 'v2'];
const multi = { workerSpec: { containers: [{ name: 'worker-container' }] } };

/** The runtimes of KServe's own table. */
const table = lists(
  servingRuntime('tf-runtime', {
    supportedModelFormats: [format('tensorflow', '1', { priority: 1 })],
    protocolVersions: both,
  }),
  servingRuntime('sklearn-runtime', {
    supportedModelFormats: [format('sklearn', '0', { priority: 1 })],
    protocolVersions: both,
  }),
  servingRuntime('pmml-runtime', {
    supportedModelFormats: [format('pmml', '4', { autoSelect: false, priority: 1 })],
    protocolVersions: both,
    disabled: true,
  }),
  servingRuntime('mlserver-runtime', {
    supportedModelFormats: [
      format('sklearn', '0', { priority: 2 }),
      format('lightgbm', '3', { priority: 2 }),
    ],
    protocolVersions: ['v2'],
  }),
  servingRuntime('triton-runtime', {
    supportedModelFormats: [
      format('sklearn', '0'),
      format('triton', '1', { priority: 1 }),
      format('lightgbm', '3'),
    ],
    protocolVersions: ['v2'],
  }),
  servingRuntime('test-runtime', {
    supportedModelFormats: [format('sklearn', '0')],
    protocolVersions: ['v2'],
  }),
  servingRuntime('huggingface-multinode-runtime', {
    supportedModelFormats: [format('huggingface', '1', { priority: 2 })],
    protocolVersions: both,
    ...multi,
  }),
  clusterRuntime('cluster-mlserver-runtime-mms', {
    supportedModelFormats: [
      format('sklearn', '0', { priority: 2 }),
      format('xgboost', '1', { priority: 2 }),
      format('lightgbm', '3', { priority: 2 }),
    ],
    protocolVersions: ['v2'],
    multiModel: true,
  }),
  clusterRuntime('cluster-tf-runtime', {
    supportedModelFormats: [format('tensorflow', '1', { priority: 1 })],
    protocolVersions: both,
  }),
  clusterRuntime('cluster-xgboost-runtime', {
    supportedModelFormats: [format('xgboost', '0', { priority: 1 })],
    protocolVersions: ['v2'],
  }),
);

const names = (found: readonly { metadata: { name: string } }[]) =>
  found.map(({ metadata }) => metadata.name);

describe('candidates, in order', () => {
  const cases: readonly [string, string | undefined, boolean, boolean, readonly string[]][] = [
    ['tensorflow', undefined, false, false, ['tf-runtime', 'cluster-tf-runtime']],
    ['nonexistent-modelformat', undefined, false, false, []],
    ['pmml', undefined, false, false, []],
    ['sklearn', 'v2', true, false, ['cluster-mlserver-runtime-mms']],
    ['sklearn', undefined, false, false, ['sklearn-runtime']],
    ['xgboost', 'v2', false, false, ['cluster-xgboost-runtime']],
    ['xgboost', 'v1', false, false, []],
    [
      'sklearn',
      'v2',
      false,
      false,
      ['mlserver-runtime', 'sklearn-runtime', 'test-runtime', 'triton-runtime'],
    ],
    ['huggingface', 'v2', false, true, ['huggingface-multinode-runtime']],
  ];
  test.each(cases)(
    '%s over %p, multi-model %p, multi-node %p',
    (name, protocolVersion, multiModel, multiNode, expected) => {
      const wanted = { namespace: 'default', modelFormat: { name }, protocolVersion, multiModel, multiNode };
      expect(names(candidates(wanted, table))).toEqual(expected);
    },
  );

  const wanted = { namespace: 'default', modelFormat: { name: 'onnx' }, multiModel: false, multiNode: false };
  const onnx = (name: string, more = {}, metadata = {}) =>
    clusterRuntime(name, { supportedModelFormats: [format('onnx', '1')], ...more }, metadata);

  test('a namespaced runtime comes before every cluster runtime, whatever the priority', () => {
    const cluster = onnx('cluster', { supportedModelFormats: [format('onnx', '1', { priority: 9 })] });
    const own = servingRuntime('own', { supportedModelFormats: [format('onnx')] });
    expect(names(candidates(wanted, lists(cluster, own)))).toEqual(['own', 'cluster']);
  });
  test("another namespace's runtimes do not count", () => {
    const other = servingRuntime(
      'other',
      { supportedModelFormats: [format('onnx')] },
      { namespace: 'elsewhere' },
    );
    expect(candidates(wanted, lists(other))).toEqual([]);
  });
  test('with equal priority: the lowest protocol, then the newest, then the name', () => {
    const runtimes = [
      onnx('z-any', { protocolVersions: [] }),
      onnx('b', { protocolVersions: ['v1'] }, { creationTimestamp: '2026-01-01T00:00:00Z' }),
      onnx('c', { protocolVersions: ['v1'] }, { creationTimestamp: '2026-01-01T00:00:00Z' }),
      onnx('new', { protocolVersions: ['v1'] }, { creationTimestamp: '2026-02-01T00:00:00Z' }),
    ];
    expect(names(candidates(wanted, lists(...runtimes)))).toEqual(['new', 'b', 'c', 'z-any']);
  });
  test('versions are words: "1" is not "1.2", and none in the runtime fits no version in the model', () => {
    const none = onnx('none', { supportedModelFormats: [format('onnx')] });
    const asked = (version: string) => ({ ...wanted, modelFormat: { name: 'onnx', version } });
    expect(names(candidates(asked('1'), lists(onnx('one'), none)))).toEqual(['one']);
    expect(candidates(asked('1.2'), lists(onnx('one'), none))).toEqual([]);
    expect(names(candidates(wanted, lists(onnx('one'), none)))).toEqual(['none', 'one']);
  });
  test('the priority is that of the first entry of the format, whatever its version', () => {
    const first = onnx('first', {
      supportedModelFormats: [format('onnx', '2', { priority: 5 }), format('onnx', '1', { priority: 1 })],
    });
    const second = onnx('a', { supportedModelFormats: [format('onnx', '1', { priority: 3 })] });
    const asked = { ...wanted, modelFormat: { name: 'onnx', version: '1' } };
    expect(names(candidates(asked, lists(second, first)))).toEqual(['first', 'a']);
  });

  test('do not depend on the order of the lists', () => {
    const all = [...table.servingRuntimes, ...table.clusterServingRuntimes];
    fc.assert(
      fc.property(fc.shuffledSubarray(all, { minLength: all.length }), (shuffled) => {
        const asked = { ...wanted, modelFormat: { name: 'sklearn' }, protocolVersion: 'v2' };
        expect(names(candidates(asked, lists(...shuffled)))).toEqual(names(candidates(asked, table)));
      }),
    );
  });
});

describe('a named runtime', () => {
  const named = (runtime: string, more = {}) =>
    selectRuntime(serviceOf({ modelFormat: { name: 'sklearn', version: '0' }, runtime, ...more }), table);

  test('is taken without autoSelect, and gives the model its lowest protocol', () => {
    const quiet = servingRuntime('quiet', {
      supportedModelFormats: [format('sklearn', '0', { autoSelect: false })],
      protocolVersions: ['grpc-v2', 'v2'],
    });
    const object = serviceOf({ modelFormat: { name: 'sklearn' }, runtime: 'quiet' });
    const selection = selectRuntime(object, lists(quiet));
    expect(selection).toMatchObject({ ok: true, explicit: true, runtime: { metadata: { name: 'quiet' } } });
    expect(selection.ok && selection.object.spec.predictor.model).toMatchObject({
      runtime: 'quiet',
      protocolVersion: 'v2',
    });
  });
  test('in the namespace hides the one of the cluster', () => {
    const spec = { supportedModelFormats: [format('onnx')] };
    const selection = selectRuntime(
      serviceOf({ runtime: 'same' }),
      lists(clusterRuntime('same', spec), servingRuntime('same', spec)),
    );
    expect(selection).toMatchObject({ ok: true, runtime: { kind: 'ServingRuntime' } });
  });
  test('multi-model and multi-node are not looked at', () => {
    expect(named('cluster-mlserver-runtime-mms')).toMatchObject({ ok: true });
  });
  test('kserve-mlserver sets its protocol before it is checked', () => {
    const mlserver = clusterRuntime('kserve-mlserver', {
      supportedModelFormats: [format('sklearn', '1')],
      protocolVersions: ['v2'],
    });
    const object = serviceOf({ modelFormat: { name: 'sklearn', version: '1' }, runtime: 'kserve-mlserver' });
    const selection = selectRuntime(object, lists(mlserver));
    expect(selection.ok && selection.object.spec.predictor.model?.protocolVersion).toBe('v2');
  });

  const failures: readonly [string, ReturnType<typeof selectRuntime>, string, string, string, string][] = [
    [
      'that is unknown',
      named('nope'),
      'runtime_not_recognized',
      'RuntimeNotRecognized',
      'Waiting for runtime to become available',
      'No ServingRuntimes or ClusterServingRuntimes with the name: nope',
    ],
    [
      'that is disabled',
      named('pmml-runtime'),
      'runtime_disabled',
      'RuntimeDisabled',
      'Specified runtime is disabled',
      'specified runtime pmml-runtime is disabled',
    ],
    [
      'that does not speak the protocol',
      named('mlserver-runtime', { protocolVersion: 'v1' }),
      'no_supporting_runtime',
      'NoSupportingRuntime',
      'Specified runtime does not support specified protocol version',
      'specified runtime mlserver-runtime does not support specified protocol version: asked is v1, it speaks v2',
    ],
    [
      'that does not serve the format',
      named('tf-runtime'),
      'no_supporting_runtime',
      'NoSupportingRuntime',
      'Specified runtime does not support specified framework/version',
      'specified runtime tf-runtime does not support specified framework/version: asked is sklearn 0, it serves tensorflow 1',
    ],
    [
      'that does not serve the version',
      named('sklearn-runtime', { modelFormat: { name: 'sklearn', version: '1' } }),
      'no_supporting_runtime',
      'NoSupportingRuntime',
      'Specified runtime does not support specified framework/version',
      'specified runtime sklearn-runtime does not support specified framework/version: asked is sklearn 1, it serves sklearn 0',
    ],
  ];
  test.each(failures)('%s is refused in KServe’s words', (_name, selection, code, reason, message, error) => {
    expect(selection).toMatchObject({ ok: false, code, reason, message });
    expect(!selection.ok && selection.error).toContain(error);
  });
});

describe('automatic selection', () => {
  test('takes the first candidate, and says why the others were not taken', () => {
    const selection = selectRuntime(serviceOf({ modelFormat: { name: 'sklearn' } }), table);
    expect(selection).toMatchObject({
      ok: true,
      explicit: false,
      runtime: { metadata: { name: 'sklearn-runtime' } },
    });
    const why = Object.fromEntries(
      selection.ok ? selection.rejected.map(({ runtime, why }) => [runtime.metadata.name, why]) : [],
    );
    expect(why).toMatchObject({
      'mlserver-runtime': 'it does not speak v1, only v2',
      'pmml-runtime': 'it is disabled',
      'tf-runtime': 'it does not serve sklearn',
      'huggingface-multinode-runtime': 'it runs on several nodes',
      'cluster-mlserver-runtime-mms': 'it is for multi-model serving',
    });
  });
  test('without a candidate says what is nearest', () => {
    const selection = selectRuntime(serviceOf({ modelFormat: { name: 'xgboost', version: '0' } }), table);
    expect(selection).toEqual({
      ok: false,
      code: 'no_supporting_runtime',
      reason: 'NoSupportingRuntime',
      message: 'No runtime found to support specified framework/version',
      error:
        'no runtime found to support predictor with model type: {xgboost 0}. ' +
        'cluster-mlserver-runtime-mms: it is for multi-model serving; ' +
        'cluster-xgboost-runtime: it does not speak v1, only v2',
    });
  });
  test('of a format that nobody serves says so', () => {
    expect(selectRuntime(serviceOf({ modelFormat: { name: 'pickle' } }), table)).toMatchObject({
      error:
        'no runtime found to support predictor with model type: {pickle <nil>}. ' +
        'No runtime that is applied serves pickle; apply one, or name another format',
    });
  });
  test('of a predictor without a model is a spec error', () => {
    expect(selectRuntime(serviceWith({ containers: [{}] }), table)).toMatchObject({
      ok: false,
      code: 'invalid_predictor_spec',
      reason: 'InvalidPredictorSpec',
    });
  });
  test('with a workerSpec looks at multi-node runtimes only', () => {
    const object = serviceWith({ model: { modelFormat: { name: 'huggingface' } }, workerSpec: {} });
    expect(selectRuntime(object, table)).toMatchObject({
      ok: true,
      runtime: { metadata: { name: 'huggingface-multinode-runtime' } },
    });
  });
  test('does not change its input', () => {
    const object = serviceOf({ modelFormat: { name: 'sklearn' } });
    const before = structuredClone(object);
    selectRuntime(object, table);
    expect(object).toEqual(before);
  });
});
