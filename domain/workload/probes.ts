import type { InferenceService } from '../inference-service/inference-service.schema.ts';
import type { Container } from '../inference-service/kubernetes.schema.ts';
import {
  type Checked,
  readinessPathAnnotation,
  startupSeconds,
} from '../serving-runtime/local-annotations.ts';
import type { AnyRuntime } from '../serving-runtime/select.ts';
import type { Workload } from './workload.ts';

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
  return {
    path: pathOf(probe, runtime),
    periodMs: seconds(probe?.periodSeconds) ?? readinessDefaults.periodMs,
    timeoutMs: seconds(probe?.timeoutSeconds) ?? readinessDefaults.timeoutMs,
    failureThreshold: positive(probe?.failureThreshold) ?? readinessDefaults.failureThreshold,
  };
}

function pathOf(probe: Container['readinessProbe'], runtime: AnyRuntime): string | null {
  if (probe?.httpGet !== undefined) return rooted(probe.httpGet.path ?? '/');
  if (probe?.tcpSocket !== undefined) return null;
  const annotated = runtime.metadata.annotations?.[readinessPathAnnotation];
  return annotated === undefined ? null : rooted(annotated);
}

/** The service's annotation, its or the runtime's startupProbe, the runtime's annotation, then the default. */
export function startupTimeoutOf(
  object: InferenceService,
  container: Container,
  runtime: AnyRuntime,
): Checked<number> {
  const own = startupSeconds(object.metadata.annotations);
  if (!own.ok) return own;
  const runtimes = startupSeconds(runtime.metadata.annotations);
  if (!runtimes.ok) return runtimes;
  const timeoutSeconds = own.value ?? probeSeconds(container) ?? runtimes.value;
  return { ok: true, value: timeoutSeconds === null ? startupTimeoutDefaultMs : 1000 * timeoutSeconds };
}

function probeSeconds({ startupProbe }: Container): number | null {
  if (startupProbe === undefined) return null;
  const period = positive(startupProbe.periodSeconds) ?? startupProbeDefaults.periodSeconds;
  const failures = positive(startupProbe.failureThreshold) ?? startupProbeDefaults.failureThreshold;
  return Math.max(0, startupProbe.initialDelaySeconds ?? 0) + period * failures;
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
