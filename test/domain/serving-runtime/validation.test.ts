import { describe, expect, test } from '@jest/globals';
import type { ServingRuntimeSpec } from '../../../domain/serving-runtime/serving-runtime.schema.ts';
import { validateServingRuntime } from '../../../domain/serving-runtime/validation.ts';
import { clusterRuntime, format, localRuntime, servingRuntime } from '../../fixtures/domain/objects.ts';

const base: Partial<ServingRuntimeSpec> = {
  supportedModelFormats: [format('sklearn', '1', { priority: 1 })],
  protocolVersions: ['v1'],
};

describe('priorities', () => {
  const cases: readonly [string, Partial<ServingRuntimeSpec>, Partial<ServingRuntimeSpec>, boolean][] = [
    ['all the same', {}, {}, true],
    [
      'both versions absent',
      { supportedModelFormats: [format('sklearn', undefined, { priority: 1 })] },
      { supportedModelFormats: [format('sklearn', undefined, { priority: 1 })] },
      true,
    ],
    ['both multi-model', { multiModel: true }, { multiModel: true }, true],
    ['names in another case', { supportedModelFormats: [format('SKLearn', '1', { priority: 1 })] }, {}, true],
    ['priorities differ', { supportedModelFormats: [format('sklearn', '1', { priority: 2 })] }, {}, false],
    ['versions differ', { supportedModelFormats: [format('sklearn', '2', { priority: 1 })] }, {}, false],
    [
      'one has a version',
      { supportedModelFormats: [format('sklearn', undefined, { priority: 1 })] },
      {},
      false,
    ],
    ['formats differ', { supportedModelFormats: [format('xgboost', '1', { priority: 1 })] }, {}, false],
    ['protocols differ', { protocolVersions: ['v2', 'grpc-v2'] }, {}, false],
    ['no priority in one', { supportedModelFormats: [format('sklearn', '1')] }, {}, false],
    [
      'no priority in both',
      { supportedModelFormats: [format('sklearn', '1')] },
      { supportedModelFormats: [format('sklearn', '1')] },
      false,
    ],
    [
      'autoSelect false',
      { supportedModelFormats: [format('sklearn', '1', { autoSelect: false, priority: 1 })] },
      {},
      false,
    ],
    [
      'autoSelect unset',
      { supportedModelFormats: [{ name: 'sklearn', version: '1', priority: 1 }] },
      {},
      false,
    ],
    ['existing disabled', {}, { disabled: true }, false],
    ['new disabled', { disabled: true }, {}, false],
    ['one multi-model', { multiModel: true }, {}, false],
  ];
  test.each(cases)('%s', (_name, next, other, clashes) => {
    const namespaced = validateServingRuntime(servingRuntime('new', { ...base, ...next }), [
      servingRuntime('old', { ...base, ...other }),
    ]);
    const cluster = validateServingRuntime(clusterRuntime('new', { ...base, ...next }), [
      clusterRuntime('old', { ...base, ...other }),
    ]);
    const name = next.supportedModelFormats?.[0]?.name ?? 'sklearn';
    const text = `same priority assigned for the model format ${name} in the`;
    expect(namespaced).toBe(clashes ? `${text} servingruntimes old and new in namespace default` : null);
    expect(cluster).toBe(clashes ? `${text} clusterservingruntimes old and new` : null);
  });

  test('a runtime does not clash with itself, with the other kind or with another namespace', () => {
    const next = servingRuntime('new', base);
    expect(
      validateServingRuntime(next, [
        next,
        clusterRuntime('old', base),
        servingRuntime('old', base, { namespace: 'elsewhere' }),
      ]),
    ).toBeNull();
  });

  test('two priorities for one format are refused, also when no other runtime exists', () => {
    const supportedModelFormats = [
      format('sklearn', '0', { priority: 1 }),
      format('sklearn', '1', { priority: 2 }),
    ];
    const text = 'different priorities assigned for the model format sklearn under the';
    expect(validateServingRuntime(servingRuntime('new', { supportedModelFormats }), [])).toBe(
      `${text} servingruntime new`,
    );
    expect(validateServingRuntime(clusterRuntime('new', { supportedModelFormats }), [])).toBe(
      `${text} clusterservingruntime new`,
    );
  });
  test('one priority for two versions is fine', () => {
    const supportedModelFormats = [
      format('sklearn', '0', { priority: 1 }),
      format('sklearn', '1', { priority: 1 }),
    ];
    expect(validateServingRuntime(servingRuntime('new', { supportedModelFormats }), [])).toBeNull();
  });
});

describe('several nodes', () => {
  const worker = { containers: [{ name: 'worker-container' }] };
  const head = (more = {}) => [{ name: 'kserve-container', ...more }];
  const cases: readonly [string, Partial<ServingRuntimeSpec>, string | null][] = [
    ['all is well', { workerSpec: worker }, null],
    [
      'two worker containers',
      { workerSpec: { containers: [{}, {}] } },
      'setting multiple containers in workerSpec is not allowed',
    ],
    [
      'PIPELINE_PARALLEL_SIZE',
      { workerSpec: worker, containers: head({ env: [{ name: 'PIPELINE_PARALLEL_SIZE', value: '1' }] }) },
      'setting PIPELINE_PARALLEL_SIZE in environment variables is not allowed',
    ],
    [
      'TENSOR_PARALLEL_SIZE',
      { workerSpec: worker, containers: head({ env: [{ name: 'TENSOR_PARALLEL_SIZE', value: '1' }] }) },
      'setting TENSOR_PARALLEL_SIZE in environment variables is not allowed',
    ],
    [
      'an unknown GPU of the head',
      { workerSpec: worker, containers: head({ resources: { limits: { 'acme.com/gpu': 1 } } }) },
      'unknown GPU resource type in a container(kserve-container)',
    ],
    [
      'an unknown GPU of the worker',
      {
        workerSpec: {
          containers: [{ name: 'worker-container', resources: { limits: { 'acme.com/gpu': 1 } } }],
        },
      },
      'unknown GPU resource type in a container(worker-container)',
    ],
    [
      'a GPU that the annotation names',
      {
        workerSpec: worker,
        containers: head({ resources: { limits: { 'acme.com/gpu': 1 } } }),
        annotations: { 'serving.kserve.io/gpu-resource-types': '["acme.com/gpu"]' },
      },
      null,
    ],
    [
      'pipelineParallelSize 0',
      { workerSpec: { ...worker, pipelineParallelSize: 0 } },
      'the WorkerSpec.PipelineParallelSize cannot be less than 1(0)',
    ],
    [
      'tensorParallelSize 0',
      { workerSpec: { ...worker, tensorParallelSize: 0 } },
      'the WorkerSpec.TensorParallelSize cannot be less than 1(0)',
    ],
  ];
  test.each(cases)('%s', (_name, spec, expected) => {
    expect(validateServingRuntime(servingRuntime('new', spec), [])).toBe(
      expected === null ? null : `the ServingRuntime new is invalid: ${expected}`,
    );
  });

  test('workerSpec cannot be taken away, whether the stored runtime is given or found', () => {
    const before = clusterRuntime('new', { workerSpec: worker });
    const text =
      'the ClusterServingRuntime new is invalid: removing workerSpec where it already exists is not allowed';
    expect(validateServingRuntime(clusterRuntime('new'), [], before)).toBe(text);
    expect(validateServingRuntime(clusterRuntime('new'), [before])).toBe(text);
  });
  test('workerSpec needs a container', () => {
    expect(validateServingRuntime(servingRuntime('new', { workerSpec: {} }), [])).toBe(
      'spec.workerSpec.containers: Required value',
    );
  });
});

describe("Muster's own annotations", () => {
  const problem = (annotations: Record<string, string>, spec: Partial<ServingRuntimeSpec> = {}) =>
    validateServingRuntime(localRuntime('mine', spec, annotations), []);
  const environment = 'muster.dev/local-environment';

  test.each([
    ['node', {}],
    ['pinned python', { [environment]: 'python: mlserver==1.7.1 uvicorn[standard]==0.30.1' }],
    ['python alone', { [environment]: 'python:' }],
    [
      'all of them',
      {
        'muster.dev/protocols': 'v1, openai',
        'muster.dev/readiness-path': '/health',
        'muster.dev/startup-timeout-seconds': '30',
      },
    ],
  ])('%s is fine', (_name, annotations) => {
    expect(problem(annotations)).toBeNull();
  });

  test.each([
    [{ [environment]: 'ruby' }, 'must be "node" or "python: package==version …", not "ruby"'],
    [{ [environment]: 'python: mlserver' }, '"mlserver" must be pinned as package==version'],
    [{ [environment]: 'python: mlserver>=1' }, '"mlserver>=1" must be pinned'],
    [{ [environment]: 'python: mlserver==1.*' }, '"mlserver==1.*" must be pinned'],
    [{ [environment]: 'python: --index-url=http://x mlserver==1' }, '"--index-url=http://x" must be pinned'],
    [{ [environment]: 'python: ./wheel.whl' }, '"./wheel.whl" must be pinned'],
    [
      { 'muster.dev/protocols': 'v1,http' },
      'speaks "http", which is none of v1, v2, grpc-v1, grpc-v2, openai',
    ],
    [{ 'muster.dev/readiness-path': 'health' }, 'must be a path that starts with "/", not "health"'],
    [{ 'muster.dev/startup-timeout-seconds': '2m' }, 'must be a number of seconds, not "2m"'],
    [{ 'muster.dev/startup-timeout-seconds': '0' }, 'must be a number of seconds, not "0"'],
  ])('%p is refused', (annotations, text) => {
    expect(problem(annotations)).toContain(text);
  });

  test('an environment without a command is refused', () => {
    expect(problem({}, { containers: [{ name: 'kserve-container', image: 'x' }] })).toContain(
      'must name a command',
    );
  });
  test('an unknown placeholder is refused, with those that are known', () => {
    const containers = [{ name: 'kserve-container', command: ['x'], args: ['--port={{.Prot}}'] }];
    expect(problem({}, { containers })).toContain(
      '{{.Prot}} is not a known placeholder: known are {{.Name}}',
    );
  });
});
