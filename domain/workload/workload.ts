/**
 * A workload is what a revision of a service needs to run, in words that belong to no platform. Domain code
 * renders an InferenceService and its ServingRuntime into one (`render.ts`); the local platform turns it into
 * child processes under a node agent, Kubernetes into a Deployment.
 *
 * A revision is immutable: `<service>-<component>-<5 digit generation>`, e.g. `iris-predictor-00001`.
 */
export type Component = 'predictor' | 'transformer' | 'explainer';

/** What a server speaks, as the gateway routes it. */
export type Protocol = 'v1' | 'v2' | 'grpc-v1' | 'grpc-v2' | 'openai';

export interface RevisionKey {
  readonly namespace: string;
  /** Name of the InferenceService. */
  readonly name: string;
  readonly component: Component;
  readonly revision: string;
}

/** Where a process finds its programs: Muster's own Node, or a python environment made from pinned requirements. */
export type LocalEnvironment =
  { readonly kind: 'node' } | { readonly kind: 'python'; readonly requirements: readonly string[] };

export interface ModelSource {
  /** file://, http(s)://, hf://, pypi://, or an absolute path; credentials never appear in it. */
  readonly uri: string;
  /** Where in the model folder its files go, relative; '' is the folder itself. */
  readonly path: string;
}

export interface Workload extends RevisionKey {
  readonly runtime: string;
  /** Name that the server knows the model by. */
  readonly modelName: string;
  readonly protocols: readonly Protocol[];
  readonly replicas: number;
  readonly environment: LocalEnvironment;
  /**
   * Program and arguments. The node agent fills the placeholders that only it knows: `{{.ModelDir}}`,
   * `{{.Port}}`, `{{.GrpcPort}}`; those of metadata (`{{.Name}}`, `{{.Labels.x}}`, …) are filled already.
   * A relative path is relative to Muster's own folder, which is the working directory.
   */
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  /** Empty when the server needs no model files. */
  readonly models: readonly ModelSource[];
  readonly readiness: {
    /** HTTP path on the server's port that answers 200 once it can serve; null: an open port is enough. */
    readonly path: string | null;
    readonly periodMs: number;
    readonly timeoutMs: number;
    readonly failureThreshold: number;
  };
  /** How long a replica may take from start to ready before the revision counts as failed. */
  readonly startupTimeoutMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly terminationGraceMs: number;
}

/** `default/iris/predictor/iris-predictor-00001`: one string for maps and logs. */
export function revisionId(key: RevisionKey): string {
  return `${key.namespace}/${key.name}/${key.component}/${key.revision}`;
}

/** The name of a component's revision for a generation of its service. */
export function revisionName(service: string, component: Component, generation: number): string {
  return `${service}-${component}-${String(generation).padStart(5, '0')}`;
}
