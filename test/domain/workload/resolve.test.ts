import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { AnyRuntime } from '../../../domain/serving-runtime/select.ts';
import { resolve } from '../../../domain/workload/resolve.ts';
import type { Workload } from '../../../domain/workload/workload.ts';
import {
  clusterRuntime,
  format,
  lists,
  localRuntime,
  serviceOf,
  serviceWith,
  servingRuntime,
} from '../../fixtures/domain/objects.ts';

function resolved(object: InferenceService, ...runtimes: readonly AnyRuntime[]) {
  return resolve(
    applyDefaults(object),
    lists(...(runtimes.length === 0 ? [localRuntime()] : runtimes)),
    3,
    'local',
  );
}

function workload(object: InferenceService, ...runtimes: readonly AnyRuntime[]): Workload {
  const result = resolved(object, ...runtimes);
  if (!result.ok) throw new Error(result.error);
  return result.resolution.workload;
}

function refusal(object: InferenceService, ...runtimes: readonly AnyRuntime[]) {
  const result = resolved(object, ...runtimes);
  if (result.ok) throw new Error('it was accepted');
  return result;
}

test('a service on a local runtime becomes a workload with everything that a node agent needs', () => {
  const object = serviceOf({ storageUri: 'file:///models/iris' });
  expect(resolved(object)).toEqual({
    ok: true,
    resolution: {
      workload: {
        namespace: 'default',
        name: 'iris',
        component: 'predictor',
        revision: 'iris-predictor-00003',
        runtime: 'local-onnx',
        modelName: 'iris',
        protocols: ['v1', 'v2'],
        replicas: 1,
        environment: { kind: 'node' },
        command: ['node', 'server.ts'],
        args: ['--model_name=iris'],
        env: [],
        models: [{ uri: 'file:///models/iris', path: '' }],
        readiness: { path: null, periodMs: 1000, timeoutMs: 5000, failureThreshold: 3 },
        startupTimeoutMs: 120_000,
        terminationGraceMs: 30_000,
      },
      runtime: { kind: 'ClusterServingRuntime', name: 'local-onnx' },
      node: 'local',
      withoutEffect: [],
    },
    selection: { explicit: false, others: [] },
  });
});

describe('arguments and environment', () => {
  test("the service's come after the runtime's, and its model name wins", () => {
    const { args, modelName } = workload(serviceOf({ args: ['--model_name=flowers'] }));
    expect(args).toEqual(['--model_name=iris', '--model_name=flowers']);
    expect(modelName).toBe('flowers');
  });
  test("KServe's model folder becomes the agent's, in whole path parts only", () => {
    const containers = [
      {
        name: 'kserve-container',
        command: ['serve', '/mnt/models'],
        args: [
          '--dir=/mnt/models',
          '--file=/mnt/models/a.bin',
          '--x=/mnt/models-old',
          '--y=/a/mnt/models',
          '{{.ModelDir}}',
        ],
        env: [{ name: 'PAIR', value: '/mnt/models:/mnt/models/b' }],
      },
    ];
    const { command, args, env } = workload(serviceOf(), localRuntime('r', { containers }));
    expect(command).toEqual(['serve', '{{.ModelDir}}']);
    expect(args).toEqual([
      '--dir={{.ModelDir}}',
      '--file={{.ModelDir}}/a.bin',
      '--x=/mnt/models-old',
      '--y=/a/mnt/models',
      '{{.ModelDir}}',
    ]);
    expect(env).toEqual([{ name: 'PAIR', value: '{{.ModelDir}}:{{.ModelDir}}/b' }]);
  });
  test('placeholders of metadata are filled, those of the agent stay; a fixed port is no placeholder', () => {
    const containers = [
      {
        name: 'kserve-container',
        command: ['x'],
        args: ['{{ .Namespace }}/{{.Labels.tier}}', '{{ .Port }}', '--http_port=8080'],
      },
    ];
    const object = serviceOf({}, { labels: { tier: 'gold' } });
    expect(workload(object, localRuntime('r', { containers })).args).toEqual([
      'default/gold',
      '{{.Port}}',
      '--http_port=8080',
    ]);
  });
  test('a label that is missing is said by name', () => {
    const containers = [{ name: 'kserve-container', command: ['x'], args: ['{{.Labels.tier}}'] }];
    expect(refusal(serviceOf(), localRuntime('r', { containers }))).toMatchObject({
      code: 'invalid_predictor_spec',
      reason: 'InvalidPredictorSpec',
      error:
        'failed to replace placeholders in serving runtime r Container kserve-container: {{.Labels.tier}} asks for ' +
        'the label "tier", which the InferenceService does not have',
    });
  });
  test("MLServer's own defaults arrive", () => {
    const mlserver = localRuntime('kserve-mlserver', {
      supportedModelFormats: [format('sklearn', '1')],
      protocolVersions: ['v2'],
      containers: [
        {
          name: 'kserve-container',
          command: ['mlserver'],
          env: [{ name: 'IMPLEMENTATION', value: '{{.Labels.modelClass}}' }],
        },
      ],
    });
    const object = serviceOf({
      modelFormat: { name: 'sklearn' },
      runtime: 'kserve-mlserver',
      storageUri: '/m',
    });
    expect(workload(object, mlserver).env).toEqual([
      { name: 'IMPLEMENTATION', value: 'mlserver_sklearn.SKLearnModel' },
      { name: 'MLSERVER_MODEL_NAME', value: 'iris' },
      { name: 'MLSERVER_MODEL_URI', value: '{{.ModelDir}}' },
    ]);
  });
  test("a service's valueFrom is left out and reported", () => {
    const result = resolved(serviceOf({ env: [{ name: 'TOKEN', valueFrom: { secretKeyRef: {} } }] }));
    expect(result.ok && result.resolution.workload.env).toEqual([]);
    expect(result.ok && result.resolution.withoutEffect).toEqual(['spec.predictor.model.env[0].valueFrom']);
  });
  test("a runtime's valueFrom is refused, unless the service gives a value", () => {
    const containers = [
      { name: 'kserve-container', command: ['x'], env: [{ name: 'TOKEN', valueFrom: { secretKeyRef: {} } }] },
    ];
    const runtime = localRuntime('r', { containers });
    expect(refusal(serviceOf(), runtime).error).toBe(
      'TOKEN of runtime r comes from the cluster (valueFrom), which this machine does not have: give it a value',
    );
    expect(workload(serviceOf({ env: [{ name: 'TOKEN', value: 't' }] }), runtime).env).toEqual([
      { name: 'TOKEN', value: 't' },
    ]);
  });
});

describe('what runs is for runtimes to say', () => {
  test('a command in a service is refused', () => {
    expect(refusal(serviceOf({ command: ['sh'] }))).toMatchObject({
      code: 'invalid_predictor_spec',
      error: expect.stringContaining('an InferenceService must not set `command` on this machine'),
    });
  });
  test('a custom container is refused', () => {
    expect(refusal(serviceWith({ containers: [{ image: 'mine' }] })).error).toContain(
      'a predictor of its own containers cannot run on this machine',
    );
  });
  test.each([
    'PATH',
    'LD_PRELOAD',
    'DYLD_INSERT_LIBRARIES',
    'NODE_OPTIONS',
    'PYTHONPATH',
    'PYTHONSTARTUP',
    'OPENSSL_CONF',
    'BASH_ENV',
  ])('%s in a service is refused', (name) => {
    expect(refusal(serviceOf({ env: [{ name, value: '/tmp/x' }] })).error).toContain(`must not set ${name}`);
  });
  test.each(['LD_PRELOAD=/tmp/x', 'A B', '1A', 'A\0'])('%p is no name of a variable', (name) => {
    expect(refusal(serviceOf({ env: [{ name, value: 'x' }] })).error).toContain(
      'is not the name of an environment',
    );
  });
  test.each(['PYTHONUNBUFFERED', 'MLSERVER_DEBUG', 'OMP_NUM_THREADS', 'PATHS'])('%s is fine', (name) => {
    expect(workload(serviceOf({ env: [{ name, value: '1' }] })).env).toEqual([{ name, value: '1' }]);
  });
  test('a runtime may set them', () => {
    const containers = [
      { name: 'kserve-container', command: ['x'], env: [{ name: 'NODE_OPTIONS', value: '--x' }] },
    ];
    expect(workload(serviceOf(), localRuntime('r', { containers })).env).toHaveLength(1);
  });
  test('a NUL character is refused', () => {
    expect(refusal(serviceOf({ args: ['a\0b'] })).error).toContain('NUL');
  });

  test('whatever a service says, the command stays the runtime’s', () => {
    const text = fc.string({ unit: 'grapheme-ascii', maxLength: 20 });
    fc.assert(
      fc.property(fc.array(text), fc.dictionary(text, text), text, (args, variables, label) => {
        const env = Object.entries(variables).map(([name, value]) => ({ name, value }));
        const result = resolved(serviceOf({ args, env }, { labels: { any: label } }));
        expect(!result.ok || result.resolution.workload.command).toEqual(
          result.ok ? ['node', 'server.ts'] : true,
        );
        const started = result.ok ? result.resolution.workload.args : ['--model_name=iris'];
        expect(started[0]).toBe('--model_name=iris');
      }),
    );
  });
});

describe('the runtime', () => {
  const stock = clusterRuntime('kserve-triton', {
    supportedModelFormats: [format('onnx', '1', { priority: 9 })],
    protocolVersions: ['v1'],
  });
  test('without an environment cannot run here, and the text says what to do', () => {
    expect(refusal(serviceOf(), stock)).toMatchObject({
      code: 'invalid_predictor_spec',
      reason: 'InvalidPredictorSpec',
      error:
        'runtime kserve-triton needs containers and cannot run on this machine: add annotation ' +
        'muster.dev/local-environment ("node", or "python: package==version …") and a command to it, or name another runtime',
    });
  });
  test('is the first that can run here, when none is named', () => {
    const result = resolved(serviceOf(), stock, localRuntime());
    expect(result.ok && result.resolution.runtime.name).toBe('local-onnx');
    expect(result.ok && result.selection.others).toEqual([
      { name: 'kserve-triton', why: 'it needs containers' },
    ]);
  });
  test('is the named one, also when it cannot run here', () => {
    expect(refusal(serviceOf({ runtime: 'kserve-triton' }), stock, localRuntime()).error).toContain(
      'kserve-triton',
    );
  });
  test('of the namespace is told as such', () => {
    const own = {
      ...servingRuntime('own'),
      metadata: { ...localRuntime('own').metadata, namespace: 'default' },
    };
    const result = resolved(serviceOf(), { ...own, spec: localRuntime().spec });
    expect(result.ok && result.resolution.runtime).toEqual({ kind: 'ServingRuntime', name: 'own' });
  });
  test('without a command cannot run here', () => {
    const containers = [{ name: 'kserve-container', image: 'x' }];
    expect(refusal(serviceOf(), localRuntime('r', { containers })).error).toContain(
      'runtime r has no command',
    );
  });
  test.each([
    [[], 'no container configuration found in selected serving runtime'],
    [[{ name: 'x' }], 'failed to find kserve-container in ServingRuntime containers'],
  ])('with containers %j is refused in KServe’s words', (containers, error) => {
    expect(refusal(serviceOf(), localRuntime('r', { containers }))).toMatchObject({
      code: 'invalid_predictor_spec',
      error,
    });
  });
  test('that nobody has is KServe’s failure as it is', () => {
    expect(refusal(serviceOf({ runtime: 'nope' }))).toMatchObject({
      code: 'runtime_not_recognized',
      reason: 'RuntimeNotRecognized',
      message: 'Waiting for runtime to become available',
    });
  });
  test('with a python environment brings its requirements', () => {
    const runtime = localRuntime('r', {}, { 'muster.dev/local-environment': 'python:  a==1  b[x]==2.0 ' });
    expect(workload(serviceOf(), runtime).environment).toEqual({
      kind: 'python',
      requirements: ['a==1', 'b[x]==2.0'],
    });
  });
  test.each([
    [{ 'muster.dev/protocols': 'openai, v2' }, ['v1'], undefined, ['v2', 'openai']],
    [{}, ['grpc-v2', 'v2'], 'v2', ['v2', 'grpc-v2']],
    [{}, [], 'v2', ['v2']],
    [{}, [], undefined, ['v1']],
  ])(
    'with annotations %j and protocolVersions %j, asked for %p, speaks %j',
    (annotations, protocolVersions, asked, spoken) => {
      const object = serviceOf(asked === undefined ? {} : { protocolVersion: asked });
      expect(workload(object, localRuntime('r', { protocolVersions }, annotations)).protocols).toEqual(
        spoken,
      );
    },
  );
  test('that speaks an unknown protocol is refused', () => {
    expect(refusal(serviceOf(), localRuntime('r', { protocolVersions: ['v1', 'v9'] })).error).toContain(
      'speaks "v9"',
    );
  });
});

describe('readiness and patience', () => {
  const probed = (readinessProbe: object, annotations = {}) =>
    workload(serviceOf({ readinessProbe }), localRuntime('r', {}, annotations)).readiness;
  test('the probe’s path and timings', () => {
    expect(
      probed({
        httpGet: { path: 'ready', port: 8080 },
        periodSeconds: 4,
        timeoutSeconds: 2,
        failureThreshold: 7,
      }),
    ).toEqual({ path: '/ready', periodMs: 4000, timeoutMs: 2000, failureThreshold: 7 });
  });
  test('the probe before the annotation, the annotation before an open port', () => {
    const annotations = { 'muster.dev/readiness-path': '/health' };
    expect(probed({ httpGet: { path: '/ready' } }, annotations).path).toBe('/ready');
    expect(probed({ periodSeconds: 4 }, annotations).path).toBe('/health');
    expect(probed({ tcpSocket: { port: 8080 } }, annotations).path).toBeNull();
    expect(probed({ httpGet: {} }).path).toBe('/');
    expect(probed({ exec: {} }).path).toBeNull();
  });
  test.each([
    [{}, {}, {}, 120],
    [{}, { startupProbe: { periodSeconds: 5, failureThreshold: 12 } }, {}, 60],
    [{}, { startupProbe: { periodSeconds: 5, failureThreshold: 12, initialDelaySeconds: 10 } }, {}, 70],
    [{}, { startupProbe: {} }, {}, 30],
    [{}, {}, { 'muster.dev/startup-timeout-seconds': '200' }, 200],
    [
      {},
      { startupProbe: { periodSeconds: 5, failureThreshold: 12 } },
      { 'muster.dev/startup-timeout-seconds': '200' },
      60,
    ],
    [
      { 'muster.dev/startup-timeout-seconds': '9' },
      { startupProbe: {} },
      { 'muster.dev/startup-timeout-seconds': '200' },
      9,
    ],
  ])('service %j with %j on runtime %j may take %p s', (own, model, runtimes, seconds) => {
    const object = serviceOf(model, { annotations: own });
    expect(workload(object, localRuntime('r', {}, runtimes)).startupTimeoutMs).toBe(seconds * 1000);
  });
  test('a timeout that is no number is refused', () => {
    expect(
      refusal(serviceOf({}, { annotations: { 'muster.dev/startup-timeout-seconds': 'long' } })).error,
    ).toContain('must be a number of seconds, not "long"');
  });
  test.each([
    [undefined, 30_000],
    [0, 0],
    [5, 5000],
  ])('terminationGracePeriodSeconds %p is %p ms', (given, expected) => {
    const object = serviceWith({
      model: { modelFormat: { name: 'onnx' } },
      ...(given === undefined ? {} : { terminationGracePeriodSeconds: given }),
    });
    expect(workload(object).terminationGraceMs).toBe(expected);
  });
  test.each([
    [undefined, 1],
    [0, 1],
    [3, 3],
  ])('minReplicas %p makes %p replicas', (given, expected) => {
    const object = serviceWith({
      model: { modelFormat: { name: 'onnx' } },
      ...(given === undefined ? {} : { minReplicas: given }),
    });
    expect(workload(object).replicas).toBe(expected);
  });
});

test('resolving changes neither the object nor the runtimes', () => {
  const object = serviceOf({ storageUri: '/m', args: ['a'] });
  const runtime = localRuntime();
  const before = structuredClone([object, runtime]);
  resolved(object, runtime);
  expect([object, runtime]).toEqual(before);
});
