import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import { legacyFrameworks } from '../../../domain/inference-service/frameworks.ts';
import type {
  InferenceService,
  Predictor,
} from '../../../domain/inference-service/inference-service.schema.ts';
import { serviceOf, serviceWith } from '../../fixtures/domain/objects.ts';

const mode = 'serving.kserve.io/deploymentMode';
const defaulted = (predictor: Predictor) => applyDefaults(serviceWith(predictor)).spec.predictor;

describe('legacy frameworks', () => {
  test.each(legacyFrameworks)('%s becomes a model of that format', (framework) => {
    const { model, [framework]: gone } = defaulted({
      [framework]: { storageUri: 'gs://bucket/model', args: ['--nthread=1'] },
      minReplicas: 2,
    });
    expect(gone).toBeUndefined();
    expect(model).toEqual({
      modelFormat: { name: framework },
      storageUri: 'gs://bucket/model',
      args: ['--nthread=1'],
      ...(['triton', 'onnx', 'huggingface'].includes(framework) ? { protocolVersion: 'v2' } : {}),
    });
  });

  test('a protocol that is given stays', () => {
    expect(defaulted({ onnx: { protocolVersion: 'grpc-v2' } }).model?.protocolVersion).toBe('grpc-v2');
  });

  test('the first by KServe’s order is rewritten, the second stays for validation to find', () => {
    const predictor = defaulted({ xgboost: {}, tensorflow: {} });
    expect(predictor.model?.modelFormat.name).toBe('tensorflow');
    expect(predictor.xgboost).toEqual({});
  });

  test('ModelMesh by annotation leaves the predictor as it is', () => {
    const object = serviceWith({ sklearn: {} }, { annotations: { [mode]: 'ModelMesh' } });
    expect(applyDefaults(object).spec.predictor).toEqual({ sklearn: {} });
  });

  test('ModelMesh by configuration alone does not', () => {
    const object = applyDefaults(serviceWith({ sklearn: {} }), { defaultDeploymentMode: 'ModelMesh' });
    expect(object.spec.predictor.model?.modelFormat.name).toBe('sklearn');
    expect(object.metadata.annotations?.[mode]).toBe('ModelMesh');
  });
});

describe('protocol', () => {
  test.each([
    ['triton', undefined, 'v2'],
    ['triton', 'grpc-v2', 'grpc-v2'],
    ['onnx', undefined, undefined],
    ['sklearn', undefined, undefined],
  ])('of a model of format %s with %p is %p', (name, given, expected) => {
    const model = { modelFormat: { name }, ...(given === undefined ? {} : { protocolVersion: given }) };
    expect(defaulted({ model }).model?.protocolVersion).toBe(expected);
  });
});

describe('deployment mode', () => {
  test.each([
    [undefined, undefined, undefined],
    [undefined, 'Serverless', undefined],
    [undefined, 'RawDeployment', 'RawDeployment'],
    [undefined, 'Standard', 'RawDeployment'],
    [undefined, 'ModelMesh', 'ModelMesh'],
    ['Serverless', 'RawDeployment', 'Serverless'],
    ['Knative', undefined, 'Serverless'],
    ['Standard', undefined, 'RawDeployment'],
    ['Nonsense', undefined, 'Nonsense'],
  ])('annotation %p under configuration %p becomes %p', (given, configured, expected) => {
    const object = serviceOf({}, given === undefined ? {} : { annotations: { [mode]: given } });
    const config = configured === undefined ? {} : { defaultDeploymentMode: configured };
    expect(applyDefaults(object, config).metadata.annotations?.[mode]).toBe(expected);
  });
});

describe('custom containers', () => {
  test('one container of any name is the model server', () => {
    expect(defaulted({ containers: [{ name: 'mine' }] }).containers).toEqual([{ name: 'kserve-container' }]);
  });
  test('the first of several keeps the name that it has', () => {
    const containers = [{ name: 'kserve-container' }, { name: 'transformer-container' }];
    expect(defaulted({ containers }).containers).toEqual(containers);
    expect(defaulted({ containers: [{ name: '' }, { name: 'b' }] }).containers?.[0]?.name).toBe(
      'kserve-container',
    );
  });
  test('beside a model stay as they are', () => {
    const predictor = {
      model: { modelFormat: { name: 'onnx' } },
      containers: [{ name: 'transformer-container' }],
    };
    expect(defaulted(predictor)).toEqual(predictor);
  });
  test('of transformers and explainers are named whatever they were', () => {
    const containers = [{ name: 'a' }, { name: 'b' }];
    const { spec } = applyDefaults({
      ...serviceOf(),
      spec: { ...serviceOf().spec, transformer: { containers }, explainer: { containers } },
    });
    expect(spec.transformer?.containers?.map(({ name }) => name)).toEqual(['kserve-container', 'b']);
    expect(spec.explainer?.containers?.map(({ name }) => name)).toEqual(['kserve-container', 'b']);
  });
  test('get the configured resources key by key, models do not', () => {
    const config = { resources: { limits: { cpu: '1', memory: '2Gi' }, requests: { cpu: '1' } } };
    const containers = [{ name: 'kserve-container', resources: { limits: { cpu: '4' } } }];
    expect(
      applyDefaults(serviceWith({ containers }), config).spec.predictor.containers?.[0]?.resources,
    ).toEqual({
      limits: { cpu: '4', memory: '2Gi' },
      requests: { cpu: '1' },
    });
    expect(applyDefaults(serviceOf(), config).spec.predictor.model?.resources).toBeUndefined();
  });
});

test('an ART explainer gets its name and version', () => {
  const object: InferenceService = {
    ...serviceOf(),
    spec: { ...serviceOf().spec, explainer: { art: { type: 'SquareAttack' } } },
  };
  expect(applyDefaults(object, { artImageVersion: 'v1' }).spec.explainer?.art).toEqual({
    type: 'SquareAttack',
    name: 'kserve-container',
    runtimeVersion: 'v1',
  });
});

test('the token of the service account is withheld only where nobody asked for it', () => {
  const config = { autoMountServiceAccountToken: false };
  expect(applyDefaults(serviceOf(), config).spec.predictor.automountServiceAccountToken).toBe(false);
  const asked = serviceWith({ sklearn: {}, automountServiceAccountToken: true });
  expect(applyDefaults(asked, config).spec.predictor.automountServiceAccountToken).toBe(true);
});

test('the namespace is default', () => {
  const metadata = { name: 'iris' };
  expect(applyDefaults({ ...serviceOf(), metadata }).metadata.namespace).toBe('default');
});

/** Objects of every shape that defaulting looks at. */
const anyPredictor: fc.Arbitrary<Predictor> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...legacyFrameworks), fc.option(fc.constantFrom('v1', 'v2'), { nil: undefined }))
    .map(([framework, protocolVersion]) => ({ [framework]: { protocolVersion, storageUri: 'gs://m' } })),
  fc.constantFrom('onnx', 'triton', 'gguf').map((name) => ({ model: { modelFormat: { name } } })),
  fc
    .array(fc.constantFrom('kserve-container', 'transformer-container', 'x', ''), { maxLength: 3 })
    .map((names) => ({ containers: names.map((name) => ({ name })) })),
);
const anyService = fc
  .tuple(anyPredictor, fc.constantFrom(undefined, 'Serverless', 'Knative', 'Standard', 'ModelMesh', 'Odd'))
  .map(([predictor, given]) =>
    serviceWith(predictor, given === undefined ? {} : { annotations: { [mode]: given } }),
  );
const anyConfig = fc.constantFrom(
  {},
  { defaultDeploymentMode: 'RawDeployment', resources: { limits: { cpu: '1' } } },
  { defaultDeploymentMode: 'ModelMesh', autoMountServiceAccountToken: false },
);

test('defaulting twice is defaulting once', () => {
  fc.assert(
    fc.property(anyService, anyConfig, (object, config) => {
      const once = applyDefaults(object, config);
      expect(applyDefaults(once, config)).toEqual(once);
    }),
  );
});

test('the input is left as it was', () => {
  fc.assert(
    fc.property(anyService, anyConfig, (object, config) => {
      const before = structuredClone(object);
      applyDefaults(object, config);
      expect(object).toEqual(before);
    }),
  );
});
