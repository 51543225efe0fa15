import { autoscalerClassAnnotation, knativeClassAnnotation } from './annotations.ts';
import { canonicalDeploymentMode, deploymentModeAnnotation } from './deployment-mode.ts';
import type { Predictor } from './inference-service.schema.ts';
import { quantityValue } from './quantity.ts';

type Extension = Pick<Predictor, 'scaleMetric' | 'scaleTarget' | 'autoScaling' | 'deploymentStrategy'>;
type Metric = NonNullable<NonNullable<Extension['autoScaling']>['metrics']>[number];
type Target = NonNullable<NonNullable<Metric['resource']>['target']>;

const utilization = 'the target utilization percentage should be a [1-100] integer';
const mebibyte = 2 ** 20;

/**
 * The autoscaling fields of one component, by the autoscaler that would read them. KServe decides by the
 * annotations alone: without a deployment mode it assumes Knative's.
 */
export function scalingProblem(
  component: Extension,
  annotations: Readonly<Record<string, string>>,
): string | null {
  const mode = canonicalDeploymentMode(annotations[deploymentModeAnnotation] ?? '');
  if (mode !== 'RawDeployment') {
    return annotations[knativeClassAnnotation] === 'hpa.autoscaling.knative.dev'
      ? hpaProblem(component)
      : kpaProblem(component);
  }
  const autoscaler = annotations[autoscalerClassAnnotation];
  if (autoscaler === 'hpa') return hpaProblem(component);
  // KServe checks no other class here.
  return autoscaler === 'keda' ? kedaProblem(component) : null;
}

/** Knative's pod autoscaler. */
function kpaProblem({ deploymentStrategy, scaleMetric, scaleTarget }: Extension): string | null {
  if (deploymentStrategy !== undefined && deploymentStrategy !== null) {
    return 'customizing deploymentStrategy is only supported for raw deployment mode';
  }
  const metric = scaleMetric ?? 'concurrency';
  if (metric !== 'concurrency' && metric !== 'rps') return `[${metric}] is not a supported metric`;
  if (metric === 'rps' && scaleTarget !== undefined && scaleTarget < 1) {
    return 'the target for rps should be greater than 1';
  }
  return null;
}

function hpaProblem({ scaleMetric, scaleTarget, autoScaling }: Extension): string | null {
  const metric = scaleMetric ?? 'cpu';
  if (metric !== 'cpu' && metric !== 'memory') return `[${metric}] is not a supported metric`;
  if (scaleTarget !== undefined) {
    // Upstream's operator precedence holds memory targets to 100 too, and then reads them as MiB in this very
    // check. The autoscaler reads percent for both, so percent it is.
    if (metric === 'memory' && scaleTarget < 1) return 'the target memory should be greater than 1 MiB';
    if (scaleTarget < 1 || scaleTarget > 100) return utilization;
  }
  for (const { type, resource } of autoScaling?.metrics ?? []) {
    if (type !== 'Resource') {
      return `invalid HPA metric source type with value [${type}],valid metric source types are Resource`;
    }
    if (resource === undefined) return 'metricSpec.Resource is not set for resource metric source type';
  }
  return null;
}

function kedaProblem({ scaleMetric, autoScaling }: Extension): string | null {
  if (scaleMetric !== undefined) return 'ScaleMetric is not supported for KEDA';
  for (const metric of autoScaling?.metrics ?? []) {
    const problem = kedaMetricProblem(metric);
    if (problem !== null) return problem;
  }
  return null;
}

function kedaMetricProblem({ type, resource, external, podmetric }: Metric): string | null {
  switch (type) {
    case 'Resource':
      if (resource === undefined) return 'metricSpec.Resource is not set for resource metric source type';
      return resourceProblem(resource.name, resource.target ?? {});
    case 'External':
      if (external === undefined) return 'metricSpec.External is not set for external metric source type';
      return queryProblem(external.metric, external.target);
    case 'PodMetric':
      if (podmetric === undefined) return 'metricSpec.PodMetric is not set for pod metric source type';
      return queryProblem(podmetric.metric, podmetric.target);
    default:
      return `unknown KEDA metric type with value [${type}].Valid types are Resource,External,PodMetric`;
  }
}

function resourceProblem(name: string, target: Target): string | null {
  if (name === 'cpu') {
    if (target.type !== 'Utilization') return 'the cpu target value type should be Utilization';
  } else if (name === 'memory') {
    if (target.type !== 'AverageValue' && target.type !== 'Utilization') {
      return 'the memory target value type should be AverageValue or Utilization';
    }
    // An absent value is told as absent below; upstream would fail on the nil pointer here.
    if (target.type === 'AverageValue' && target.averageValue !== undefined) {
      if ((quantityValue(target.averageValue) ?? 0) < mebibyte) {
        return 'the memory target value should be greater than 1 MiB';
      }
    }
  } else {
    return `resource type ${name} is not supported`;
  }
  return targetProblem(target);
}

function queryProblem(
  metric: Readonly<Record<string, unknown>> | undefined,
  target: Target | undefined,
): string | null {
  const query = metric?.['query'];
  if (query === undefined || query === '') return 'the query should not be empty';
  if (target?.value === undefined) return 'the target threshold value should not be empty';
  return targetProblem(target);
}

function targetProblem({ type = '', averageUtilization, averageValue, value }: Target): string | null {
  switch (type) {
    case 'Utilization':
      if (averageUtilization === undefined) return 'the AverageUtilization type should be set';
      return averageUtilization < 1 || averageUtilization > 100 ? utilization : null;
    case 'AverageValue':
      return averageValue === undefined ? 'the AverageValue type should be set' : null;
    case 'Value':
      return value === undefined ? 'the Value type should be set' : null;
    default:
      return null;
  }
}
