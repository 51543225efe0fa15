import type { InferenceService, Model } from '../inference-service/inference-service.schema.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import { without } from '../inference-service/without.ts';
import type { Checked } from '../serving-runtime/local-annotations.ts';
import { mergeContainers, modelContainerOf } from '../serving-runtime/merge.ts';
import { fillPlaceholders } from '../serving-runtime/placeholders.ts';
import type { AnyRuntime } from '../serving-runtime/select.ts';
import type { Workload } from './workload.ts';

export interface LocalContainer extends Pick<Workload, 'command' | 'args' | 'env'> {
  /** The merged container, placeholders filled: for its probes. */
  readonly container: Container;
}

/**
 * The program that a service and its runtime make together, for a machine without containers. Programs come from
 * applied runtimes only: whoever may change a service may add arguments and variables, not choose what runs.
 */
export function localContainer(
  object: InferenceService,
  model: Model,
  runtime: AnyRuntime,
): Checked<LocalContainer> {
  const refused = serviceProblem(model);
  if (refused !== null) return { ok: false, problem: refused };
  const base = modelContainerOf(runtime.spec);
  if (!base.ok) return { ok: false, problem: base.error };
  const filled = fillPlaceholders(mergeContainers(base.container, containerOf(model)), object.metadata);
  if (!filled.ok) {
    const where = `serving runtime ${runtime.metadata.name} Container ${base.container.name ?? ''}`;
    return { ok: false, problem: `failed to replace placeholders in ${where}: ${filled.problem}` };
  }
  const container = filled.value;
  const command = (container.command ?? []).map(toModelDir);
  if (command.length === 0) {
    return {
      ok: false,
      problem:
        `runtime ${runtime.metadata.name} has no command: an image's own entry point cannot run on this machine, ` +
        `so its ${base.container.name ?? 'container'} must name one`,
    };
  }
  const args = (container.args ?? []).map(toModelDir);
  const env = environmentVariables(container, runtime, base.container);
  if (!env.ok) return env;
  const texts = [...command, ...args, ...env.value.map(({ value }) => value)];
  return texts.some((text) => text.includes('\0'))
    ? {
        ok: false,
        problem: 'an argument or a variable has a NUL character in it, which no program can be given',
      }
    : { ok: true, value: { container, command, args, env: env.value } };
}

/** Why a service's own container fields cannot be used here. */
function serviceProblem(model: Model): string | null {
  if (model.command !== undefined && model.command.length > 0) {
    return (
      'an InferenceService must not set `command` on this machine, since it would run any program as you: ' +
      'put the command into a ServingRuntime, and keep `args` and `env` here'
    );
  }
  for (const { name } of model.env ?? []) {
    // "LD_PRELOAD=/x" as a name would set LD_PRELOAD.
    if (!/^[A-Za-z_][\w.-]*$/.test(name)) return `"${name}" is not the name of an environment variable`;
    if (loadsCode(name)) {
      return (
        `an InferenceService must not set ${name} on this machine, since it makes a server load other code: ` +
        'put it into a ServingRuntime'
      );
    }
  }
  return null;
}

const codeLoaders = new Set([
  'PATH',
  'ENV',
  'BASH_ENV',
  'SHELLOPTS',
  'GCONV_PATH',
  'GLIBC_TUNABLES',
  'CLASSPATH',
  'JAVA_TOOL_OPTIONS',
  'JDK_JAVA_OPTIONS',
  '_JAVA_OPTIONS',
  'NODE_OPTIONS',
  'NODE_PATH',
]);
const harmlessPython = new Set(['PYTHONUNBUFFERED', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED']);

/** Variables by which a program is made to load code that its command does not name. */
function loadsCode(name: string): boolean {
  return (
    codeLoaders.has(name) ||
    (/^(LD_|DYLD_|OPENSSL_|PERL5|RUBY|PYTHON)/.test(name) && !harmlessPython.has(name))
  );
}

/** The container part of a model, without KServe's own fields. */
function containerOf(model: Model): Container {
  return without(
    model,
    'storageUri',
    'storageUris',
    'runtimeVersion',
    'protocolVersion',
    'storage',
    'modelFormat',
    'runtime',
  );
}

/** A service's valueFrom is left out (and reported as without effect); a runtime's would be missed by its server. */
function environmentVariables(
  container: Container,
  runtime: AnyRuntime,
  base: Container,
): Checked<{ name: string; value: string }[]> {
  const env: { name: string; value: string }[] = [];
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom === undefined) {
      env.push({ name, value: toModelDir(value ?? '') });
    } else if ((base.env ?? []).some((variable) => variable.name === name)) {
      return {
        ok: false,
        problem:
          `${name} of runtime ${runtime.metadata.name} comes from the cluster (valueFrom), which this machine does ` +
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
