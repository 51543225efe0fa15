import { describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { without } from '../../../domain/inference-service/without.ts';
import { ClusterServingRuntime } from '../../../domain/serving-runtime/serving-runtime.schema.ts';
import { validateServingRuntime } from '../../../domain/serving-runtime/validation.ts';
import { resolve } from '../../../domain/workload/resolve.ts';
import { clusterRuntime, format, lists, serviceOf } from '../../fixtures/domain/objects.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = `${root}deploy/runtimes/`;
const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
const stock = files.map((file) => ClusterServingRuntime.parse(parse(readFileSync(folder + file, 'utf8'))));

function sample(file: string): InferenceService {
  const parsed = InferenceService.parse(parse(readFileSync(`${root}deploy/samples/${file}`, 'utf8')));
  const object = without(parsed, 'status');
  const { model } = object.spec.predictor;
  // The CLI makes the samples' relative paths absolute.
  if (model?.storageUri?.startsWith('.') === true) model.storageUri = '/models/here';
  return applyDefaults(object);
}

const deployed = (object: InferenceService) => {
  const resolved = resolve(object, lists(...stock), 1, 'local');
  if (!resolved.ok) throw new Error(resolved.error);
  expect(resolved.resolution.withoutEffect).toEqual([]);
  return resolved.resolution.workload;
};

describe('the stock runtimes', () => {
  test('are these three, each valid beside the others', () => {
    expect(stock.map(({ metadata }) => metadata.name).sort()).toEqual([
      'kserve-mlserver',
      'muster-llamacpp',
      'muster-onnx',
    ]);
    expect(stock.map((runtime) => validateServingRuntime(runtime, stock))).toEqual([null, null, null]);
  });

  test("stand beside KServe's own for the same formats", () => {
    const triton = clusterRuntime('kserve-tritonserver', {
      supportedModelFormats: [format('onnx', '1', { priority: 1 })],
      protocolVersions: ['v2', 'grpc-v2'],
    });
    const sklearnserver = clusterRuntime('kserve-sklearnserver', {
      supportedModelFormats: [format('sklearn', '1', { priority: 1 })],
      protocolVersions: ['v1', 'v2'],
    });
    for (const upstream of [triton, sklearnserver]) {
      expect(validateServingRuntime(upstream, stock)).toBeNull();
      for (const ours of stock) expect(validateServingRuntime(ours, [upstream])).toBeNull();
    }
  });

  test('muster-onnx serves ONNX with and without a version', () => {
    for (const modelFormat of [{ name: 'onnx' }, { name: 'onnx', version: '1' }]) {
      expect(deployed(applyDefaults(serviceOf({ modelFormat }))).runtime).toBe('muster-onnx');
    }
  });
});

describe('the samples', () => {
  test('iris runs in our own server', () => {
    expect(deployed(sample('iris.yaml'))).toMatchObject({
      runtime: 'muster-onnx',
      environment: { kind: 'node' },
      command: ['node', 'runtime/main.ts'],
      args: ['--model_name=iris', '--model_dir={{.ModelDir}}', '--http_port={{.Port}}'],
      protocols: ['v1', 'v2', 'openai'],
      readiness: { path: '/v2/health/ready' },
      modelName: 'iris',
    });
  });
  test.each(['tiny-llm.yaml', 'more/smollm2.yaml'])('%s runs in llama.cpp', (file) => {
    const workload = deployed(sample(file));
    expect(workload).toMatchObject({
      runtime: 'muster-llamacpp',
      environment: { kind: 'python', requirements: ['xllamacpp==2026.10.11549'] },
      command: ['python', 'runtime/llamacpp/server.py'],
      protocols: ['openai'],
      readiness: { path: '/health' },
    });
    expect(workload.args).toEqual([
      '--model_dir={{.ModelDir}}',
      `--alias=${workload.name}`,
      '--port={{.Port}}',
    ]);
    expect(workload.modelName).toBe(workload.name);
  });
  test('iris-mlserver runs in MLServer, on ports of its own', () => {
    const workload = deployed(sample('more/iris-mlserver.yaml'));
    expect(workload).toMatchObject({
      runtime: 'kserve-mlserver',
      command: ['mlserver', 'start', '{{.ModelDir}}'],
      protocols: ['v2'],
      modelName: 'iris-mlserver',
    });
    expect(Object.fromEntries(workload.env.map(({ name, value }) => [name, value]))).toEqual({
      MLSERVER_MODEL_IMPLEMENTATION: 'mlserver_sklearn.SKLearnModel',
      MLSERVER_MODEL_NAME: 'iris-mlserver',
      MLSERVER_MODEL_URI: '{{.ModelDir}}',
      MODELS_DIR: '{{.ModelDir}}',
      MLSERVER_HOST: '127.0.0.1',
      MLSERVER_HTTP_PORT: '{{.Port}}',
      MLSERVER_GRPC_PORT: '{{.GrpcPort}}',
      MLSERVER_PARALLEL_WORKERS: '0',
      MLSERVER_METRICS_ENDPOINT: '',
    });
  });
  test('minilm takes both of its files', () => {
    expect(deployed(sample('more/minilm.yaml')).models).toHaveLength(2);
  });
});
