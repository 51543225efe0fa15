import type { InferenceService } from '../inference-service/inference-service.schema.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import type { AnyRuntime } from '../serving-runtime/select.ts';
import type { Workload } from './workload.ts';

/** On a runtime: the HTTP path that answers 200 once it can serve, when its container has no readinessProbe. */
export const readinessPathAnnotation = 'muster.dev/readiness-path';
/** On a service or a runtime: how long a replica may take to its first readiness. */
export const startupTimeoutAnnotation = 'muster.dev/startup-timeout-seconds';

/**
 * Local timings where a manifest gives none. Asking each second notices a server that comes up at once (most do
 * here); the patient timeout leaves a single-threaded server alone while it computes.
 */
const readinessDefaults = { periodMs: 1000, timeoutMs: 5000, failureThreshold: 3 } as const;
const startupTimeoutDefaultMs = 120_000;
/** Kubernetes' own, for a startupProbe that leaves them out. */
const startupProbeDefaults = { periodSeconds: 10, failureThreshold: 3 } as const;

/** How readiness is asked for: the container's own probe, else the runtime's annotation, else an open port. */
export function readinessOf(container: Container, runtime: AnyRuntime): Workload['readiness'] {
  const probe = container.readinessProbe;
  const annotated = runtime.metadata.annotations?.[readinessPathAnnotation];
  const asked = probe?.httpGet === undefined ? null : (probe.httpGet.path ?? '/');
  const path = asked ?? (probe?.tcpSocket === undefined ? (annotated ?? null) : null);
  return {
    path: path === null ? null : rooted(path),
    periodMs: seconds(probe?.periodSeconds) ?? readinessDefaults.periodMs,
    timeoutMs: seconds(probe?.timeoutSeconds) ?? readinessDefaults.timeoutMs,
    failureThreshold: positive(probe?.failureThreshold) ?? readinessDefaults.failureThreshold,
  };
}

/** The service's annotation, its or the runtime's startupProbe, the runtime's annotation, then the default. */
export function startupTimeoutMs(
  object: InferenceService,
  container: Container,
  runtime: AnyRuntime,
): number {
  const own = annotatedSeconds(object.metadata.annotations);
  if (own !== null) return own * 1000;
  const probe = container.startupProbe;
  if (probe !== undefined) {
    const period = positive(probe.periodSeconds) ?? startupProbeDefaults.periodSeconds;
    const failures = positive(probe.failureThreshold) ?? startupProbeDefaults.failureThreshold;
    return 1000 * (Math.max(0, probe.initialDelaySeconds ?? 0) + period * failures);
  }
  const runtimes = annotatedSeconds(runtime.metadata.annotations);
  return runtimes === null ? startupTimeoutDefaultMs : runtimes * 1000;
}

function annotatedSeconds(annotations: Readonly<Record<string, string>> | undefined): number | null {
  const text = annotations?.[startupTimeoutAnnotation];
  return text !== undefined && /^[1-9]\d{0,4}$/.test(text) ? Number(text) : null;
}

function rooted(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

function seconds(value: number | undefined): number | null {
  const given = positive(value);
  return given === null ? null : given * 1000;
}

/** Kubernetes reads 0 as absent. */
function positive(value: number | undefined): number | null {
  return value === undefined || value < 1 ? null : value;
}
