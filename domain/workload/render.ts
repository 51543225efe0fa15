import type { ErrorCode } from '../errors.ts';
import type { InferenceService, Model } from '../inference-service/inference-service.schema.ts';
import { modelNameOf } from '../inference-service/model-name.ts';
import { parseEnvironment } from '../serving-runtime/environment.ts';
import {
  type Checked,
  environmentAnnotation,
  knownProtocols,
  protocolsOf,
} from '../serving-runtime/local-annotations.ts';
import type { AnyRuntime } from '../serving-runtime/select.ts';
import { localContainer } from './local-container.ts';
import { modelSources } from './model-sources.ts';
import { readinessOf, startupTimeoutOf } from './probes.ts';
import { type LocalEnvironment, type Protocol, revisionName, type Workload } from './workload.ts';

export type Rendered =
  | { readonly ok: true; readonly workload: Workload }
  | { readonly ok: false; readonly code: ErrorCode; readonly error: string };

/** Kubernetes' own default. */
const terminationGraceSeconds = 30;

/**
 * The workload of a service on a runtime, for the local platform: what the node agent starts, in words that
 * belong to no platform.
 *
 * @param object defaulted, with the runtime and its defaults filled in (`withRuntime`)
 */
export function renderWorkload(object: InferenceService, runtime: AnyRuntime, generation: number): Rendered {
  const { predictor } = object.spec;
  if (predictor.model === undefined) return wrong('the predictor has no model');
  const environment = environmentOf(runtime);
  if (!environment.ok) return wrong(environment.problem);
  const program = localContainer(object, predictor.model, runtime);
  if (!program.ok) return wrong(program.problem);
  const sources = modelSources(predictor.model);
  if (!sources.ok) return sources;
  const protocols = protocolsOf(runtime);
  if (!protocols.ok) return wrong(protocols.problem);
  const { container, command, args, env } = program.value;
  const startup = startupTimeoutOf(object, container, runtime);
  if (!startup.ok) return wrong(startup.problem);
  const { name, namespace = 'default' } = object.metadata;
  return {
    ok: true,
    workload: {
      namespace,
      name,
      component: 'predictor',
      revision: revisionName(name, 'predictor', generation),
      runtime: runtime.metadata.name,
      modelName: modelNameOf(args, env, name),
      protocols: protocols.value.length > 0 ? protocols.value : assumedProtocols(predictor.model),
      replicas: Math.max(1, predictor.minReplicas ?? 1),
      environment: environment.value,
      command,
      args,
      env,
      models: sources.models,
      readiness: readinessOf(container, runtime),
      startupTimeoutMs: startup.value,
      terminationGraceMs:
        1000 * Math.max(0, predictor.terminationGracePeriodSeconds ?? terminationGraceSeconds),
    },
  };
}

/** A runtime that names no protocol speaks what it is asked for; KServe assumes v1. */
function assumedProtocols({ protocolVersion = 'v1' }: Model): Protocol[] {
  return knownProtocols.filter((protocol) => protocol === protocolVersion);
}

function environmentOf(runtime: AnyRuntime): Checked<LocalEnvironment> {
  const text = runtime.metadata.annotations?.[environmentAnnotation];
  if (text !== undefined) {
    const parsed = parseEnvironment(text);
    return parsed.ok ? { ok: true, value: parsed.environment } : parsed;
  }
  return {
    ok: false,
    problem:
      `runtime ${runtime.metadata.name} needs containers and cannot run on this machine: add annotation ` +
      `${environmentAnnotation} ("node", or "python: package==version …") and a command to it, or name another runtime`,
  };
}

function wrong(error: string): Rendered {
  return { ok: false, code: 'invalid_predictor_spec', error };
}
