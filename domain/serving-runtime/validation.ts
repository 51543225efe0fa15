import { unknownGpuProblem } from '../inference-service/gpu-resources.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import { localProblem } from './local-annotations.ts';
import type { AnyRuntime } from './select.ts';
import type { ServingRuntimeSpec } from './serving-runtime.schema.ts';

const modelContainer = 'kserve-container';
const workerContainer = 'worker-container';

/**
 * KServe's admission checks of a (cluster) serving runtime (v0.15), in its words, then Muster's own for running
 * without containers. A disabled runtime is not checked, since it is never chosen.
 *
 * @param existing all runtimes that are stored; those of the other kind or namespace are left aside here
 * @param previous the runtime as it is stored, on an update
 * @returns the first failure's text, or null
 */
export function validateServingRuntime(
  next: AnyRuntime,
  existing: readonly AnyRuntime[],
  previous?: AnyRuntime,
): string | null {
  if (next.spec.disabled === true) return null;
  const before = previous ?? existing.find((other) => isNeighbour(next, other) && sameName(next, other));
  return (
    // Upstream makes this check only when other runtimes exist: a slip, since it looks at this one alone.
    ownPrioritiesProblem(next) ??
    clashProblem(next, existing) ??
    specProblem(next, before) ??
    localProblem(next)
  );
}

/** Two priorities for one format say nothing about which one counts. */
function ownPrioritiesProblem({ kind, metadata, spec }: AnyRuntime): string | null {
  const priorities = new Map<string, number>();
  for (const { name, autoSelect, priority } of spec.supportedModelFormats ?? []) {
    if (autoSelect !== true || priority === undefined) continue;
    const first = priorities.get(name) ?? priority;
    if (first !== priority) {
      return `different priorities assigned for the model format ${name} under the ${kind.toLowerCase()} ${metadata.name}`;
    }
    priorities.set(name, first);
  }
  return null;
}

/** Equal priorities of two runtimes for one format would leave the choice to chance. */
function clashProblem(next: AnyRuntime, existing: readonly AnyRuntime[]): string | null {
  for (const other of existing) {
    if (!isNeighbour(next, other) || sameName(next, other) || !couldClash(next.spec, other.spec)) continue;
    const format = clashingFormat(next.spec, other.spec);
    if (format === null) continue;
    const names = `${other.metadata.name} and ${next.metadata.name}`;
    return (
      `same priority assigned for the model format ${format} in the ` +
      (next.kind === 'ServingRuntime'
        ? `servingruntimes ${names} in namespace ${namespaceOf(next)}`
        : `clusterservingruntimes ${names}`)
    );
  }
  return null;
}

function couldClash(next: ServingRuntimeSpec, other: ServingRuntimeSpec): boolean {
  if (other.disabled === true) return false;
  if ((next.multiModel ?? false) !== (other.multiModel ?? false)) return false;
  return (other.protocolVersions ?? []).some(
    (protocol) => next.protocolVersions?.includes(protocol) === true,
  );
}

function clashingFormat(next: ServingRuntimeSpec, other: ServingRuntimeSpec): string | null {
  for (const theirs of other.supportedModelFormats ?? []) {
    for (const ours of next.supportedModelFormats ?? []) {
      if (theirs.autoSelect !== true || ours.autoSelect !== true) continue;
      const sameFormat =
        theirs.name.toLowerCase() === ours.name.toLowerCase() && theirs.version === ours.version;
      if (sameFormat && ours.priority !== undefined && ours.priority === theirs.priority) return ours.name;
    }
  }
  return null;
}

function specProblem(next: AnyRuntime, before: AnyRuntime | undefined): string | null {
  const { workerSpec } = next.spec;
  if (workerSpec !== undefined && (workerSpec.containers ?? []).length === 0) {
    return 'spec.workerSpec.containers: Required value';
  }
  const problem =
    before?.spec.workerSpec !== undefined && workerSpec === undefined
      ? 'removing workerSpec where it already exists is not allowed'
      : multiNodeProblem(next);
  return problem === null ? null : `the ${next.kind} ${next.metadata.name} is invalid: ${problem}`;
}

function multiNodeProblem({ spec }: AnyRuntime): string | null {
  const { workerSpec } = spec;
  if (workerSpec === undefined) return null;
  const [worker, ...more] = workerSpec.containers ?? [];
  if (more.length > 0) return 'setting multiple containers in workerSpec is not allowed';
  const head = spec.containers.find(({ name }) => name === modelContainer);
  for (const name of ['PIPELINE_PARALLEL_SIZE', 'TENSOR_PARALLEL_SIZE']) {
    if (head?.env?.some((variable) => variable.name === name) === true) {
      return `setting ${name} in environment variables is not allowed`;
    }
  }
  for (const container of [head, worker?.name === workerContainer ? worker : undefined]) {
    const problem = container === undefined ? null : gpuProblem(container, spec);
    if (problem !== null) return problem;
  }
  return sizeProblem(workerSpec);
}

function sizeProblem({
  pipelineParallelSize: pipeline = 1,
  tensorParallelSize: tensor = 1,
}: NonNullable<ServingRuntimeSpec['workerSpec']>): string | null {
  if (pipeline < 1) return `the WorkerSpec.PipelineParallelSize cannot be less than 1(${pipeline})`;
  return tensor < 1 ? `the WorkerSpec.TensorParallelSize cannot be less than 1(${tensor})` : null;
}

function gpuProblem(container: Container, spec: ServingRuntimeSpec): string | null {
  const problem = unknownGpuProblem(container.resources, spec.annotations ?? {}, []);
  // A malformed annotation is told as it is; only the text for an unknown type differs between the two kinds.
  if (problem === null || problem.startsWith('invalid GPU format')) return problem;
  return `unknown GPU resource type in a container(${container.name ?? ''})`;
}

function isNeighbour(next: AnyRuntime, other: AnyRuntime): boolean {
  if (next.kind !== other.kind) return false;
  return next.kind === 'ClusterServingRuntime' || namespaceOf(next) === namespaceOf(other);
}

function sameName(next: AnyRuntime, other: AnyRuntime): boolean {
  return next.metadata.name === other.metadata.name;
}

function namespaceOf(runtime: AnyRuntime): string {
  return runtime.metadata.namespace ?? 'default';
}
