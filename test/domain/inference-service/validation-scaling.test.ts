import { describe, expect, test } from '@jest/globals';
import type { Model, Predictor } from '../../../domain/inference-service/inference-service.schema.ts';
import { validateInferenceService } from '../../../domain/inference-service/validation.ts';
import { serviceWith } from '../../fixtures/domain/objects.ts';

const raw = { 'serving.kserve.io/deploymentMode': 'RawDeployment' };
const hpa = { ...raw, 'serving.kserve.io/autoscalerClass': 'hpa' };
const keda = { ...raw, 'serving.kserve.io/autoscalerClass': 'keda' };
const model: Model = { modelFormat: { name: 'onnx' }, storageUri: 'gs://models/onnx' };

function problem(predictor: Predictor, annotations?: Record<string, string>): string | null {
  return validateInferenceService(serviceWith(predictor, annotations === undefined ? {} : { annotations }));
}

type Metrics = NonNullable<NonNullable<Predictor['autoScaling']>['metrics']>;
const scaled = (...metrics: Metrics): Predictor => ({ model, autoScaling: { metrics } });

describe('autoscaling', () => {
  const utilization = 'the target utilization percentage should be a [1-100] integer';
  const cases: readonly [string, Record<string, string>, Predictor, string | null][] = [
    ['hpa: cpu, target 80', hpa, { model, scaleMetric: 'cpu', scaleTarget: 80 }, null],
    [
      'hpa: cpu, target 120',
      hpa,
      { model, scaleMetric: 'cpu', scaleMetricType: 'Utilization', scaleTarget: 120 },
      utilization,
    ],
    ['hpa: cpu is the default metric', hpa, { model, scaleTarget: 0 }, utilization],
    ['hpa: memory, target 10', hpa, { model, scaleMetric: 'memory', scaleTarget: 10 }, null],
    [
      'hpa: memory, target 0',
      hpa,
      { model, scaleMetric: 'memory', scaleTarget: 0 },
      'the target memory should be greater than 1 MiB',
    ],
    ['hpa: memory means percent too', hpa, { model, scaleMetric: 'memory', scaleTarget: 101 }, utilization],
    ['hpa: rps', hpa, { model, scaleMetric: 'rps' }, '[rps] is not a supported metric'],
    [
      'an unknown class',
      { 'serving.kserve.io/autoscalerClass': 'test' },
      { model },
      '[test] is not a supported autoscaler class type',
    ],
    [
      'kpa is no class either',
      { 'serving.kserve.io/autoscalerClass': 'kpa' },
      { model },
      '[kpa] is not a supported autoscaler class type',
    ],
    [
      'hpa: two resource metrics',
      hpa,
      scaled(
        {
          type: 'Resource',
          resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 75 } },
        },
        {
          type: 'Resource',
          resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } },
        },
      ),
      null,
    ],
    [
      'hpa: Resource without resource',
      hpa,
      scaled({ type: 'Resource' }),
      'metricSpec.Resource is not set for resource metric source type',
    ],
    [
      'hpa: External',
      hpa,
      scaled({ type: 'External' }),
      'invalid HPA metric source type with value [External],valid metric source types are Resource',
    ],
    ['keda: scaleMetric', keda, { model, scaleMetric: 'cpu' }, 'ScaleMetric is not supported for KEDA'],
    [
      'keda: cpu with AverageValue',
      keda,
      scaled({
        type: 'Resource',
        resource: { name: 'cpu', target: { type: 'AverageValue', averageValue: '1' } },
      }),
      'the cpu target value type should be Utilization',
    ],
    [
      'keda: memory with Value',
      keda,
      scaled({ type: 'Resource', resource: { name: 'memory', target: { type: 'Value', value: '1Gi' } } }),
      'the memory target value type should be AverageValue or Utilization',
    ],
    [
      'keda: memory 512Ki',
      keda,
      scaled({
        type: 'Resource',
        resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '512Ki' } },
      }),
      'the memory target value should be greater than 1 MiB',
    ],
    [
      'keda: memory 1Mi',
      keda,
      scaled({
        type: 'Resource',
        resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Mi' } },
      }),
      null,
    ],
    [
      'keda: memory without value',
      keda,
      scaled({ type: 'Resource', resource: { name: 'memory', target: { type: 'AverageValue' } } }),
      'the AverageValue type should be set',
    ],
    [
      'keda: cpu without value',
      keda,
      scaled({ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization' } } }),
      'the AverageUtilization type should be set',
    ],
    [
      'keda: cpu above 100',
      keda,
      scaled({
        type: 'Resource',
        resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 101 } },
      }),
      utilization,
    ],
    [
      'keda: disk',
      keda,
      scaled({ type: 'Resource', resource: { name: 'disk' } }),
      'resource type disk is not supported',
    ],
    [
      'keda: Resource without resource',
      keda,
      scaled({ type: 'Resource' }),
      'metricSpec.Resource is not set for resource metric source type',
    ],
    [
      'keda: External without external',
      keda,
      scaled({ type: 'External' }),
      'metricSpec.External is not set for external metric source type',
    ],
    [
      'keda: PodMetric without podmetric',
      keda,
      scaled({ type: 'PodMetric' }),
      'metricSpec.PodMetric is not set for pod metric source type',
    ],
    [
      'keda: External with an empty query',
      keda,
      scaled({ type: 'External', external: { metric: { query: '' } } }),
      'the query should not be empty',
    ],
    [
      'keda: PodMetric with an empty query',
      keda,
      scaled({ type: 'PodMetric', podmetric: { metric: {} } }),
      'the query should not be empty',
    ],
    [
      'keda: External without threshold',
      keda,
      scaled({ type: 'External', external: { metric: { query: 'up' }, target: { type: 'Value' } } }),
      'the target threshold value should not be empty',
    ],
    [
      'keda: a type that lacks its own value',
      keda,
      scaled({
        type: 'External',
        external: { metric: { query: 'up' }, target: { type: 'AverageValue', value: '1' } },
      }),
      'the AverageValue type should be set',
    ],
    [
      'keda: External and PodMetric',
      keda,
      scaled(
        {
          type: 'External',
          external: {
            metric: { backend: 'prometheus', query: 'up' },
            target: { type: 'Value', value: '10' },
          },
        },
        {
          type: 'PodMetric',
          podmetric: {
            metric: { backend: 'opentelemetry', query: 'q' },
            target: { type: 'Value', value: 5 },
          },
        },
      ),
      null,
    ],
    [
      'keda: an unknown type',
      keda,
      scaled({ type: 'UnknownType' }),
      'unknown KEDA metric type with value [UnknownType].Valid types are Resource,External,PodMetric',
    ],
    ['raw without class is not checked', raw, { model, scaleMetric: 'rps', scaleTarget: -1 }, null],
    [
      'raw with class external is not checked',
      { ...raw, 'serving.kserve.io/autoscalerClass': 'external' },
      { model, scaleTarget: -1 },
      null,
    ],
    [
      'Standard is another word for RawDeployment',
      { 'serving.kserve.io/deploymentMode': 'Standard', 'serving.kserve.io/autoscalerClass': 'keda' },
      { model, scaleMetric: 'cpu' },
      'ScaleMetric is not supported for KEDA',
    ],
    ['no mode means Knative: cpu', {}, { model, scaleMetric: 'cpu' }, '[cpu] is not a supported metric'],
    [
      'no mode means Knative: rps below 1',
      {},
      { model, scaleMetric: 'rps', scaleTarget: 0 },
      'the target for rps should be greater than 1',
    ],
    ['no mode means Knative: concurrency', {}, { model, scaleTarget: 0 }, null],
    [
      'Knative with its HPA class',
      { 'autoscaling.knative.dev/class': 'hpa.autoscaling.knative.dev' },
      { model, scaleMetric: 'cpu', scaleTarget: 80 },
      null,
    ],
    [
      'deploymentStrategy without raw',
      {},
      { model, deploymentStrategy: { type: 'Recreate' } },
      'customizing deploymentStrategy is only supported for raw deployment mode',
    ],
    ['deploymentStrategy with raw', raw, { model, deploymentStrategy: { type: 'Recreate' } }, null],
  ];
  test.each(cases)('%s', (_name, annotations, predictor, expected) => {
    expect(problem(predictor, annotations)).toBe(expected);
  });
});
