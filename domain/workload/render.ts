import type { InferenceService, Model } from '../inference-service/inference-service.schema.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import { modelNameOf } from '../inference-service/model-name.ts';
import { mergeContainers, modelContainerOf } from '../serving-runtime/merge.ts';
import { fillPlaceholders } from '../serving-runtime/placeholders.ts';
import type { AnyRuntime } from '../serving-runtime/select.ts';
import { environmentAnnotation, parseEnvironment } from './environment.ts';
import { modelSources } from './model-sources.ts';
import { startupTimeoutMs, readinessOf } from './probes.ts';
import { type Protocol, type Workload, revisionName } from './workload.ts';
import type { ErrorCode } from '../errors.ts';

/** On a runtime: what its server speaks, where that is not its protocolVersions (`openai`, or one of many). */
export const protocolsAnnotation = 'muster.dev/protocols';

export type Rendered =
  | { readonly ok: true; readonly workload: Workload }
  | { readonly ok: false; readonly code: ErrorCode; readonly error: string };

const protocols: readonly Protocol[] = ['v1', 'v2', 'grpc-v1', 'grpc-v2', 'openai'];
const defaultGraceSeconds = 30;

/**
 * The workload of a service on a runtime, for the local platform. The command comes from the runtime alone; the
 * service adds arguments and environment, as in KServe.
 *
 * @param object defaulted, with the runtime and its defaults filled in (`withRuntime`)
 */
export function renderWorkload(object: InferenceService, runtime: AnyRuntime, generation: number): Rendered {
  const { model } = object.spec.predictor;
  if (model === undefined) return wrong('the predictor has no model');
  const refused = serviceProblem(model);
  if (refused !== null) return wrong(refused);
  const environment = environmentOf(runtime);
  if (!environment.ok) return wrong(environment.problem);
  const base = modelContainerOf(runtime.spec);
  if (!base.ok) return wrong(base.error);
  const filled = fillPlaceholders(mergeContainers(base.container, containerOf(model)), object.metadata);
  if (!filled.ok) {
    return wrong(
      `failed to replace placeholders in serving runtime ${runtime.metadata.name} ` +
        `Container ${base.container.name ?? ''}: ${filled.problem}`,
    );
  }
  const sources = modelSources(model);
  if (!sources.ok) return sources;
  const spoken = protocolsOf(runtime);
  if (!spoken.ok) return wrong(spoken.problem);
  const container = filled.value;
  const command = (container.command ?? []).map(toModelDir);
  if (command.length === 0) {
    return wrong(
      `runtime ${runtime.metadata.name} has no command: an image's own entry point cannot run on this machine, ` +
        `so its ${base.container.name ?? 'container'} must name one`,
    );
  }
  const env = environmentVariables(container, runtime, base.container);
  if (!env.ok) return wrong(env.problem);
  const args = (container.args ?? []).map(toModelDir);
  const { name, namespace = 'default' } = object.metadata;
  return {
    ok: true,
    workload: {
      namespace,
      name,
      component: 'predictor',
      revision: revisionName(name, 'predictor', generation),
      runtime: runtime.metadata.name,
      modelName: modelNameOf(args, env.value, name),
      protocols: spoken.value,
      replicas: Math.max(1, object.spec.predictor.minReplicas ?? 1),
      environment: environment.environment,
      command,
      args,
      env: env.value,
      models: sources.models,
      readiness: readinessOf(container, runtime),
      startupTimeoutMs: startupTimeoutMs(object, container, runtime),
      terminationGraceMs: 1000 * (object.spec.predictor.terminationGracePeriodSeconds ?? defaultGraceSeconds),
    },
  };
}

/** Why a service's own container fields cannot be used here; local commands come from applied runtimes only. */
function serviceProblem(model: Model): string | null {
  if (model.command !== undefined && model.command.length > 0) {
    return (
      'an InferenceService must not set `command` on this machine, since it would run any program as you: ' +
      'put the command into a ServingRuntime, and keep `args` and `env` here'
    );
  }
  const loader = (model.env ?? []).find(({ name }) => loadsCode(name));
  return loader === undefined
    ? null
    : `an InferenceService must not set ${loader.name} on this machine, since it makes the server load other ` +
        'code: put it into a ServingRuntime';
}

const codeLoaders = new Set([
  'PATH',
  'NODE_OPTIONS',
  'NODE_PATH',
  'NODE_REPL_EXTERNAL_MODULE',
  'BASH_ENV',
  'ENV',
  'SHELLOPTS',
  'PERL5LIB',
  'PERL5OPT',
  'RUBYOPT',
  'RUBYLIB',
]);

/** Environment variables by which a program can be made to load code that its command does not name. */
function loadsCode(name: string): boolean {
  return (
    codeLoaders.has(name) || /^(LD_|DYLD_|PYTHON(?!UNBUFFERED$|DONTWRITEBYTECODE$|HASHSEED$))/.test(name)
  );
}

function environmentOf(runtime: AnyRuntime): ReturnType<typeof parseEnvironment> {
  const text = runtime.metadata.annotations?.[environmentAnnotation];
  if (text !== undefined) return parseEnvironment(text);
  return { ok: false, problem: cannotRunHere(runtime) };
}

/** Whether a runtime says how it runs on a machine without containers. */
export function runsLocally(runtime: AnyRuntime): boolean {
  return runtime.metadata.annotations?.[environmentAnnotation] !== undefined;
}

function cannotRunHere(runtime: AnyRuntime): string {
  return (
    `runtime ${runtime.metadata.name} needs containers and cannot run on this machine: add annotation ` +
    `${environmentAnnotation} ("node", or "python: package==version …") and a command to it, or name another runtime`
  );
}

type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

function protocolsOf(runtime: AnyRuntime): Checked<readonly Protocol[]> {
  const annotated = runtime.metadata.annotations?.[protocolsAnnotation];
  const listed = annotated === undefined ? (runtime.spec.protocolVersions ?? []) : annotated.split(',');
  const names = [...new Set(listed.map((name) => name.trim()).filter((name) => name !== ''))];
  const unknown = names.find((name) => !protocols.some((protocol) => protocol === name));
  if (unknown !== undefined) {
    return {
      ok: false,
      problem: `runtime ${runtime.metadata.name} speaks "${unknown}", which is none of ${protocols.join(', ')}`,
    };
  }
  return { ok: true, value: protocols.filter((protocol) => names.includes(protocol)) };
}

/** The container part of a model, without KServe's own fields. */
function containerOf(model: Model): Container {
  const {
    storageUri: _storageUri,
    storageUris: _storageUris,
    runtimeVersion: _runtimeVersion,
    protocolVersion: _protocolVersion,
    storage: _storage,
    modelFormat: _modelFormat,
    runtime: _runtime,
    ...container
  } = model;
  return container;
}

function environmentVariables(
  container: Container,
  runtime: AnyRuntime,
  base: Container,
): Checked<{ name: string; value: string }[]> {
  const env: { name: string; value: string }[] = [];
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom === undefined) {
      env.push({ name, value: toModelDir(value ?? '') });
    } else if (
      base.env?.some((variable) => variable.name === name && variable.valueFrom !== undefined) === true
    ) {
      return {
        ok: false,
        problem:
          `runtime ${runtime.metadata.name} takes ${name} from the cluster (valueFrom), which this machine does ` +
          'not have: give it a value',
      };
    }
  }
  return { ok: true, value: env };
}

/** KServe's fixed model folder becomes the agent's; only whole path parts, so that /mnt/models-x stays. */
function toModelDir(text: string): string {
  return text.replace(/(?<![\w./-])\/mnt\/models(?![\w.-])/g, '{{.ModelDir}}');
}

function wrong(error: string): Rendered {
  return { ok: false, code: 'invalid_predictor_spec', error };
}
