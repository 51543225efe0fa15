import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Model } from '../../../domain/inference-service/inference-service.schema.ts';
import type { Container } from '../../../domain/inference-service/kubernetes.schema.ts';
import {
  applyRuntimeDefaults,
  mergeContainers,
  modelContainerOf,
} from '../../../domain/serving-runtime/merge.ts';
import { serviceOf, servingRuntime } from '../../fixtures/domain/objects.ts';

describe('a service laid over its runtime', () => {
  const cases: readonly [string, Container, Container, Container][] = [
    [
      'args are concatenated, the runtime’s first',
      { args: ['a', 'b'] },
      { args: ['a', 'c'] },
      { args: ['a', 'b', 'a', 'c'] },
    ],
    ['the command is replaced', { command: ['a', 'b'] }, { command: ['c'] }, { command: ['c'] }],
    [
      'env by name, in the runtime’s order',
      {
        env: [
          { name: 'A', value: '1' },
          { name: 'B', value: '2' },
        ],
      },
      {
        env: [
          { name: 'C', value: '3' },
          { name: 'A', value: '9' },
        ],
      },
      {
        env: [
          { name: 'A', value: '9' },
          { name: 'B', value: '2' },
          { name: 'C', value: '3' },
        ],
      },
    ],
    [
      'a variable is taken whole, so that value and valueFrom never meet',
      { env: [{ name: 'A', valueFrom: { secretKeyRef: {} } }] },
      { env: [{ name: 'A', value: '9' }] },
      { env: [{ name: 'A', value: '9' }] },
    ],
    [
      'ports by number',
      { ports: [{ containerPort: 8080, protocol: 'TCP' }] },
      { ports: [{ containerPort: 8080, name: 'h2c' }, { containerPort: 9000 }] },
      { ports: [{ containerPort: 8080, protocol: 'TCP', name: 'h2c' }, { containerPort: 9000 }] },
    ],
    [
      'mounts by path',
      { volumeMounts: [{ mountPath: '/a', name: 'x' }] },
      {
        volumeMounts: [
          { mountPath: '/a', name: 'y' },
          { mountPath: '/b', name: 'z' },
        ],
      },
      {
        volumeMounts: [
          { mountPath: '/a', name: 'y' },
          { mountPath: '/b', name: 'z' },
        ],
      },
    ],
    [
      'resources key by key',
      { resources: { limits: { cpu: '1', memory: '2Gi' }, requests: { cpu: '1' } } },
      { resources: { limits: { memory: '4Gi' } } },
      { resources: { limits: { cpu: '1', memory: '4Gi' }, requests: { cpu: '1' } } },
    ],
    ['an empty name is no name', { name: 'kserve-container' }, { name: '' }, { name: 'kserve-container' }],
    ['the image is replaced', { image: 'a:1' }, { image: 'b:2' }, { image: 'b:2' }],
  ];
  test.each(cases)('%s', (_name, runtime, service, expected) => {
    expect(mergeContainers(runtime, service)).toEqual(expected);
  });

  test('an empty service changes nothing, and inputs are left alone', () => {
    const runtime: Container = { name: 'kserve-container', args: ['a'], env: [{ name: 'A', value: '1' }] };
    const before = structuredClone(runtime);
    expect(mergeContainers(runtime, {})).toEqual(before);
    mergeContainers(runtime, { env: [{ name: 'A', value: '2' }], args: ['b'] });
    expect(runtime).toEqual(before);
  });

  test('every variable appears once, with the service’s value where it has one', () => {
    const env = fc.uniqueArray(fc.record({ name: fc.constantFrom('A', 'B', 'C', 'D'), value: fc.string() }), {
      selector: ({ name }) => name,
    });
    fc.assert(
      fc.property(env, env, (base, patch) => {
        const merged = mergeContainers({ env: base }, { env: patch }).env ?? [];
        const expected = new Map([...base, ...patch].map(({ name, value }) => [name, value]));
        expect(merged).toHaveLength(expected.size);
        expect(new Map(merged.map(({ name, value }) => [name, value]))).toEqual(expected);
      }),
    );
  });
});

describe('the model’s container', () => {
  test('is found by name', () => {
    const { spec } = servingRuntime('x', {
      containers: [{ name: 'other' }, { name: 'kserve-container', image: 'i' }],
    });
    expect(modelContainerOf(spec)).toEqual({ ok: true, container: { name: 'kserve-container', image: 'i' } });
  });
  test.each([
    [[], 'no container configuration found in selected serving runtime'],
    [[{ name: 'other' }], 'failed to find kserve-container in ServingRuntime containers'],
  ])('%j has none', (containers, error) => {
    expect(modelContainerOf({ containers })).toEqual({ ok: false, error });
  });
});

describe('defaults of the stock runtimes', () => {
  const applied = (runtime: string, model: Partial<Model>, labels?: Record<string, string>) => {
    const object = applyRuntimeDefaults(serviceOf(model, labels === undefined ? {} : { labels }), runtime);
    return { labels: object.metadata.labels, model: object.spec.predictor.model };
  };

  test.each([
    ['sklearn', 'mlserver_sklearn.SKLearnModel'],
    ['xgboost', 'mlserver_xgboost.XGBoostModel'],
    ['lightgbm', 'mlserver_lightgbm.LightGBMModel'],
    ['mlflow', 'mlserver_mlflow.MLflowRuntime'],
    ['something', 'mlserver_sklearn.SKLearnModel'],
  ])('MLServer loads %s with %s', (name, modelClass) => {
    const { labels, model } = applied('kserve-mlserver', { modelFormat: { name }, storageUri: 'gs://m' });
    expect(labels).toEqual({ modelClass });
    expect(model).toMatchObject({
      protocolVersion: 'v2',
      env: [
        { name: 'MLSERVER_MODEL_NAME', value: 'iris' },
        { name: 'MLSERVER_MODEL_URI', value: '/mnt/models' },
      ],
    });
  });
  test('MLServer without a model loads none at start', () => {
    expect(applied('kserve-mlserver', {}).model?.env).toEqual([
      { name: 'MLSERVER_LOAD_MODELS_AT_STARTUP', value: 'false' },
    ]);
  });
  test('what the service says stays', () => {
    const { labels, model } = applied(
      'kserve-mlserver',
      {
        storageUri: 'gs://m',
        protocolVersion: 'grpc-v2',
        env: [{ name: 'MLSERVER_MODEL_NAME', value: 'mine' }],
      },
      { modelClass: 'my.Class' },
    );
    expect(labels).toEqual({ modelClass: 'my.Class' });
    expect(model?.protocolVersion).toBe('grpc-v2');
    expect(model?.env?.[0]).toEqual({ name: 'MLSERVER_MODEL_NAME', value: 'mine' });
    expect(model?.env).toHaveLength(2);
  });

  test.each([
    [undefined, 'v1', 'kserve'],
    ['v2', 'v2', 'kservev2'],
    ['grpc-v2', 'grpc-v2', 'kservev2'],
  ])('TorchServe asked for %p speaks %s in envelope %s', (asked, protocol, envelope) => {
    const { labels, model } = applied(
      'kserve-torchserve',
      asked === undefined ? {} : { protocolVersion: asked },
    );
    expect(labels).toEqual({ serviceEnvelope: envelope });
    expect(model?.protocolVersion).toBe(protocol);
    expect(model?.env).toEqual([{ name: 'PROTOCOL_VERSION', value: protocol }]);
  });

  test('Triton without a model waits to be told, once', () => {
    const explicit = '--model-control-mode=explicit';
    expect(applied('kserve-tritonserver', {}).model).toMatchObject({
      protocolVersion: 'v2',
      args: [explicit],
    });
    expect(applied('kserve-tritonserver', { args: [explicit] }).model?.args).toEqual([explicit]);
    expect(applied('kserve-tritonserver', { storageUri: 'gs://m' }).model?.args).toBeUndefined();
  });

  test('other runtimes add nothing', () => {
    const object = serviceOf({ storageUri: 'gs://m' });
    expect(applyRuntimeDefaults(object, 'my-mlserver')).toBe(object);
  });
});
