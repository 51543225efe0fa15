import { describe, expect, test } from '@jest/globals';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import type {
  Explainer,
  InferenceService,
  Model,
  Predictor,
} from '../../../domain/inference-service/inference-service.schema.ts';
import { validateInferenceService } from '../../../domain/inference-service/validation.ts';
import { serviceOf, serviceWith } from '../../fixtures/domain/objects.ts';

const model: Model = { modelFormat: { name: 'onnx' }, storageUri: 'gs://models/onnx' };

function problem(predictor: Predictor, annotations?: Record<string, string>): string | null {
  return validateInferenceService(serviceWith(predictor, annotations === undefined ? {} : { annotations }));
}

describe('replicas, concurrency and logger', () => {
  const cases: readonly [string, Partial<Predictor>, string | null][] = [
    ['minReplicas -1', { minReplicas: -1 }, "'MinReplicas' cannot be less than 0"],
    ['maxReplicas -1', { maxReplicas: -1 }, "'MaxReplicas' cannot be less than 0"],
    ['min 2, max 1', { minReplicas: 2, maxReplicas: 1 }, "'MinReplicas' cannot be greater than MaxReplicas"],
    ['min 0, max 0 is unlimited', { minReplicas: 0, maxReplicas: 0 }, null],
    ['min 5, max 0 is unlimited', { minReplicas: 5, maxReplicas: 0 }, null],
    ['min absent counts as 1', { maxReplicas: 1 }, null],
    ['containerConcurrency -1', { containerConcurrency: -1 }, 'parallelism cannot be less than 0'],
    ['logger response', { logger: { mode: 'response' } }, null],
    ['logger of another mode', { logger: { mode: 'some' } }, 'invalid logger type'],
    ['logger without mode', { logger: { url: 'http://sink' } }, 'invalid logger type'],
  ];
  test.each(cases)('%s', (_name, fields, expected) => {
    expect(problem({ model, ...fields })).toBe(expected);
  });
});

describe('names', () => {
  test.each(['abc-123', 'a', 'a-b'])('takes %s', (name) => {
    expect(validateInferenceService(serviceOf({}, { name }))).toBeNull();
  });
  test.each(['1abcde', 'abc.de', 'Abc', 'abc-', 'a_b', ''])('refuses %p', (name) => {
    expect(validateInferenceService(serviceOf({}, { name }))).toBe(
      `the InferenceService "${name}" is invalid: a InferenceService name must consist of lower case alphanumeric ` +
        `characters or '-', and must start with alphabetical character. (e.g. "my-name" or "abc-123", regex used ` +
        `for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')`,
    );
  });
});

describe('implementations', () => {
  const one =
    'exactly one of [SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, ' +
    'Model, WorkerSpec, PodSpec] must be specified in PredictorSpec';
  const cases: readonly [string, Predictor, string | null][] = [
    ['no predictor kind', {}, one],
    ['two frameworks', { tensorflow: {}, xgboost: {} }, one],
    ['a framework and a model', { sklearn: {}, model }, one],
    ['a model and a custom container', { model, containers: [{ name: 'kserve-container' }] }, one],
    ['a model and pod fields', { model, serviceAccountName: 'reader' }, null],
    ['a model and a transformer beside it', { model, containers: [{ name: 'transformer-container' }] }, null],
    ['one container of any name', { containers: [{ name: 'mine' }] }, null],
  ];
  test.each(cases)('%s', (_name, predictor, expected) => {
    expect(validateInferenceService(applyDefaults(serviceWith(predictor)))).toBe(expected);
  });

  test('a transformer needs a container', () => {
    const object: InferenceService = { ...serviceOf(), spec: { predictor: { model }, transformer: {} } };
    expect(validateInferenceService(object)).toBe(
      'exactly one of [PodSpec] must be specified in TransformerSpec',
    );
  });

  test('an explainer is ART or containers, not both', () => {
    const explainer: Explainer = { art: { type: 'SquareAttack' }, containers: [{ name: 'x' }] };
    const object: InferenceService = { ...serviceOf(), spec: { predictor: { model }, explainer } };
    expect(validateInferenceService(object)).toBe(
      'exactly one of [ART, PodSpec] must be specified in ExplainerSpec',
    );
  });

  test("a custom predictor's protocol is v1 or v2, and the text says which was given", () => {
    const containers = [{ name: 'kserve-container', env: [{ name: 'PROTOCOL', value: 'v3' }] }];
    expect(problem({ containers })).toBe('invalid protocol v3. Must be one of [v1, v2]');
    expect(problem({ containers: [{ env: [{ name: 'PROTOCOL', value: 'v2' }] }] })).toBeNull();
  });
});

describe('collocation', () => {
  const stored = { env: [{ name: 'STORAGE_URI', value: 'gs://models' }] };
  test('a transformer beside its predictor has no storage of its own', () => {
    expect(problem({ model, containers: [{ name: 'transformer-container', ...stored }] })).toBe(
      'storage uri should not be specified in transformer container',
    );
  });
  test('the predictor may have it', () => {
    const containers = [{ name: 'kserve-container', ...stored }, { name: 'transformer-container' }];
    expect(problem({ containers })).toBeNull();
  });
});

describe('explainer storage', () => {
  const withStorage = (art: Omit<NonNullable<Explainer['art']>, 'type'>): string | null =>
    validateInferenceService({
      ...serviceOf(),
      spec: { predictor: { model }, explainer: { art: { type: 'SquareAttack', ...art } } },
    });
  test('takes the three kinds', () => {
    expect(withStorage({ storage: {}, storageUri: 's3://b' })).toBeNull();
    expect(withStorage({ storage: { parameters: { type: 'webhdfs' } } })).toBeNull();
    expect(withStorage({ storageUri: 'gs://without-a-storage-spec' })).toBeNull();
  });
  test('refuses another scheme and another type', () => {
    expect(withStorage({ storage: {}, storageUri: 'gs://b' })).toBe(
      'storageUri, must be one of: [s3://, hdfs://, webhdfs://] or match ' +
        'https://{}.blob.core.windows.net/{}/{} or be an absolute or relative local path. ' +
        'StorageUri [gs://b] is not supported',
    );
    expect(withStorage({ storage: { parameters: { type: 'gs' } } })).toBe(
      'storage.spec.type, must be one of: [s3://, hdfs://, webhdfs://]. storage.spec.type [gs] is not supported',
    );
  });
});

describe('change of the deployment mode', () => {
  const deployed = (mode: string): InferenceService => ({ ...serviceOf(), status: { deploymentMode: mode } });
  const asking = (mode?: string) =>
    serviceOf({}, mode === undefined ? {} : { annotations: { 'serving.kserve.io/deploymentMode': mode } });

  test('is refused before anything else is looked at', () => {
    const next = { ...asking('RawDeployment'), spec: { predictor: {} } };
    expect(validateInferenceService(next, deployed('Serverless'))).toBe(
      "update rejected: deploymentMode cannot be changed from 'Serverless' to 'RawDeployment'",
    );
  });
  test.each([
    ['no annotation', undefined, 'Serverless'],
    ['the same', 'Serverless', 'Serverless'],
    ["the same by v0.16's name", 'Standard', 'RawDeployment'],
  ])('is none with %s', (_name, asked, before) => {
    expect(validateInferenceService(asking(asked), deployed(before))).toBeNull();
  });
  test('is none while nothing was deployed', () => {
    expect(validateInferenceService(asking('RawDeployment'), serviceOf())).toBeNull();
  });
});

describe('several nodes', () => {
  const none = { 'serving.kserve.io/autoscalerClass': 'none' };
  const multi: Predictor = { model: { ...model, storageUri: 'pvc://claim/model' }, workerSpec: {} };
  const withModel = (fields: Partial<Model>): Predictor => ({
    ...multi,
    model: { ...model, ...multi.model, ...fields },
  });
  const gpuText =
    "Unknown GPU resource type. Set 'serving.kserve.io/gpu-resource-types' annotation to use custom gpu resource type";
  const cases: readonly [string, Predictor, Record<string, string>, string | null][] = [
    ['all is well', multi, none, null],
    [
      'two worker containers',
      { ...multi, workerSpec: { containers: [{}, {}] } },
      none,
      'setting multiple containers in workerSpec is not allowed',
    ],
    [
      'PIPELINE_PARALLEL_SIZE',
      withModel({ env: [{ name: 'PIPELINE_PARALLEL_SIZE', value: '2' }] }),
      none,
      'setting PIPELINE_PARALLEL_SIZE in environment variables is not allowed',
    ],
    [
      'TENSOR_PARALLEL_SIZE',
      withModel({ env: [{ name: 'TENSOR_PARALLEL_SIZE', value: '2' }] }),
      none,
      'setting TENSOR_PARALLEL_SIZE in environment variables is not allowed',
    ],
    [
      'an unknown GPU of the model',
      withModel({ resources: { limits: { 'acme.com/gpu': 1 } } }),
      none,
      gpuText,
    ],
    [
      'an unknown GPU of a worker',
      { ...multi, workerSpec: { containers: [{ resources: { requests: { 'acme.com/gpu': 1 } } }] } },
      none,
      gpuText,
    ],
    ['a known GPU', withModel({ resources: { limits: { 'nvidia.com/gpu': 1, cpu: '1' } } }), none, null],
    [
      'a GPU that the annotation names',
      withModel({ resources: { limits: { 'acme.com/gpu': 1 } } }),
      { ...none, 'serving.kserve.io/gpu-resource-types': '["acme.com/gpu"]' },
      null,
    ],
    [
      'a malformed annotation',
      multi,
      { ...none, 'serving.kserve.io/gpu-resource-types': 'acme.com/gpu' },
      'invalid GPU format(acme.com/gpu) for serving.kserve.io/gpu-resource-types annotation: must be a valid JSON array',
    ],
    [
      'no storageUri',
      { model: { modelFormat: { name: 'huggingface' } }, workerSpec: {} },
      none,
      'StorageURI must be set for multinode enabled',
    ],
    [
      'another storage',
      withModel({ storageUri: 's3://bucket' }),
      none,
      "Multinode only supports 'pvc' Storage Protocol(s3)",
    ],
    [
      'another autoscaler',
      multi,
      { 'serving.kserve.io/autoscalerClass': 'hpa' },
      "Multinode only supports 'none' autoscaler(hpa)",
    ],
    ['no autoscaler', multi, {}, "Multinode only supports 'none' autoscaler()"],
    [
      'pipelineParallelSize 0',
      { ...multi, workerSpec: { pipelineParallelSize: 0 } },
      none,
      'WorkerSpec.PipelineParallelSize cannot be less than 1(0)',
    ],
    [
      'tensorParallelSize -1',
      { ...multi, workerSpec: { tensorParallelSize: -1 } },
      none,
      'WorkerSpec.TensorParallelSize cannot be less than 1(-1)',
    ],
  ];
  test.each(cases)('%s', (_name, predictor, annotations, expected) => {
    expect(problem(predictor, annotations)).toBe(
      expected === null ? null : `the InferenceService "iris" is invalid: ${expected}`,
    );
  });

  test("a GPU that the cluster's configuration names", () => {
    const object = serviceWith(withModel({ resources: { limits: { 'acme.com/gpu': 1 } } }), {
      annotations: none,
    });
    expect(validateInferenceService(object, undefined, { gpuResourceTypes: ['acme.com/gpu'] })).toBeNull();
  });
});

describe('several sources (v0.16)', () => {
  const uris = (...storageUris: NonNullable<Model['storageUris']>) =>
    problem({ model: { modelFormat: { name: 'onnx' }, storageUris } });
  test('two may share the default folder', () => {
    expect(uris({ uri: 'pypi://a@1/x' }, { uri: 'pypi://b@1/y' })).toBeNull();
  });
  test.each([
    [{ uri: '' }, 'storage URI cannot be empty'],
    [{ uri: 'hf://a', mountPath: '/' }, 'storage path cannot be empty'],
    [{ uri: 'hf://a', mountPath: 'mnt/models' }, 'storage path must be absolute: mnt/models'],
    [
      { uri: 'hf://a', mountPath: '/mnt/models/../..' },
      "storage path cannot contain '..' for security reasons: /mnt/models/../..",
    ],
  ])('refuses %p', (source, expected) => {
    expect(uris(source)).toBe(expected);
  });
  test('not beside storageUri', () => {
    expect(problem({ model: { ...model, storageUris: [] } })).toBe(
      'Setting both StorageURI and StorageURIs is not supported.',
    );
  });
});
