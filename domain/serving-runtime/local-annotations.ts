import type { Protocol } from '../workload/workload.ts';
import { parseEnvironment } from './environment.ts';
import { modelContainerOf } from './merge.ts';
import { unknownPlaceholder } from './placeholders.ts';
import type { AnyRuntime } from './select.ts';

/**
 * Muster's annotations on a (cluster) serving runtime: what a container image would say, for a machine without
 * containers. KServe ignores them, so one manifest serves both.
 */
export const environmentAnnotation = 'muster.dev/local-environment';
/** What the server speaks, where that is not its protocolVersions (`openai`, or one of several). */
export const protocolsAnnotation = 'muster.dev/protocols';
/** The HTTP path that answers 200 once it can serve, when its container has no readinessProbe. */
export const readinessPathAnnotation = 'muster.dev/readiness-path';
/** On a service or a runtime: how long a replica may take to its first readiness. */
export const startupTimeoutAnnotation = 'muster.dev/startup-timeout-seconds';

export const knownProtocols: readonly Protocol[] = ['v1', 'v2', 'grpc-v1', 'grpc-v2', 'openai'];

export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

/** Whether a runtime says how it runs on a machine without containers. */
export function runsLocally(runtime: AnyRuntime): boolean {
  return runtime.metadata.annotations?.[environmentAnnotation] !== undefined;
}

/** The protocols that a runtime's server speaks, in one order; a name that nobody speaks is a problem. */
export function protocolsOf(runtime: AnyRuntime): Checked<readonly Protocol[]> {
  const annotated = runtime.metadata.annotations?.[protocolsAnnotation];
  const listed = annotated === undefined ? (runtime.spec.protocolVersions ?? []) : annotated.split(',');
  const names = new Set(listed.map((name) => name.trim()).filter((name) => name !== ''));
  const unknown = [...names].find((name) => !knownProtocols.some((protocol) => protocol === name));
  if (unknown !== undefined) {
    return {
      ok: false,
      problem: `runtime ${runtime.metadata.name} speaks "${unknown}", which is none of ${knownProtocols.join(', ')}`,
    };
  }
  return { ok: true, value: knownProtocols.filter((protocol) => names.has(protocol)) };
}

/** Seconds from an annotation; null when it is absent, a problem when it is no number of seconds. */
export function startupSeconds(
  annotations: Readonly<Record<string, string>> | undefined,
): Checked<number | null> {
  const text = annotations?.[startupTimeoutAnnotation];
  if (text === undefined) return { ok: true, value: null };
  if (/^[1-9]\d{0,4}$/.test(text)) return { ok: true, value: Number(text) };
  return { ok: false, problem: `${startupTimeoutAnnotation} must be a number of seconds, not "${text}"` };
}

/** What is wrong with a runtime for running here; null also when it does not claim to. */
export function localProblem(runtime: AnyRuntime): string | null {
  const wrong = (text: string) => `the ${runtime.kind} ${runtime.metadata.name} is invalid: ${text}`;
  const base = modelContainerOf(runtime.spec);
  const container = base.ok ? base.container : undefined;
  const unknown = container === undefined ? null : unknownPlaceholder(container);
  if (unknown !== null) {
    return wrong(
      `${unknown} is not a known placeholder: known are {{.Name}}, {{.Namespace}}, {{.Labels.x}}, ` +
        '{{.Annotations.x}}, {{.ModelDir}}, {{.Port}} and {{.GrpcPort}}',
    );
  }
  const annotations = runtime.metadata.annotations ?? {};
  const seconds = startupSeconds(annotations);
  if (!seconds.ok) return wrong(seconds.problem);
  const path = annotations[readinessPathAnnotation];
  if (path !== undefined && !/^\/[^\s#]*$/.test(path)) {
    return wrong(`${readinessPathAnnotation} must be a path that starts with "/", not "${path}"`);
  }
  if (annotations[protocolsAnnotation] !== undefined) {
    const spoken = protocolsOf(runtime);
    if (!spoken.ok) return wrong(spoken.problem);
  }
  return commandProblem(runtime, container?.command ?? [], wrong);
}

function commandProblem(
  runtime: AnyRuntime,
  command: readonly string[],
  wrong: (text: string) => string,
): string | null {
  const text = runtime.metadata.annotations?.[environmentAnnotation];
  if (text === undefined) return null;
  const environment = parseEnvironment(text);
  if (!environment.ok) return wrong(environment.problem);
  return command.length > 0
    ? null
    : wrong(`with ${environmentAnnotation} its kserve-container must name a command`);
}
