import type { ErrorCode } from '../errors.ts';
import type { InferenceService, Model } from '../inference-service/inference-service.schema.ts';
import { applyRuntimeDefaults } from './merge.ts';
import type { ClusterServingRuntime, RuntimeLists, ServingRuntime } from './serving-runtime.schema.ts';

export type AnyRuntime = ServingRuntime | ClusterServingRuntime;

/** What selection looks at: a model, where it lives, and how it is served. */
export interface Wanted {
  readonly namespace: string;
  readonly modelFormat: Model['modelFormat'];
  /** Absent counts as v1, as in KServe. */
  readonly protocolVersion?: string | undefined;
  readonly multiModel: boolean;
  readonly multiNode: boolean;
}

/** Why a runtime was not taken, in words for `muster plan`. */
export interface Rejected {
  readonly runtime: AnyRuntime;
  readonly why: string;
}

export type RuntimeSelection =
  | {
      readonly ok: true;
      readonly runtime: AnyRuntime;
      /** Automatic: every candidate in KServe's order, the chosen one first; explicit: the named one. */
      readonly candidates: readonly AnyRuntime[];
      readonly rejected: readonly Rejected[];
      readonly explicit: boolean;
      /** The object with the runtime, its protocol and the runtime's own defaults filled in. */
      readonly object: InferenceService;
    }
  | SelectionFailure;

export interface SelectionFailure {
  readonly ok: false;
  readonly code: ErrorCode;
  /** KServe's lastFailureInfo.reason. */
  readonly reason: string;
  /** KServe's lastFailureInfo.message. */
  readonly message: string;
  /** KServe's error text, then what to do. */
  readonly error: string;
}

const protocolOrder = ['v1', 'v2', 'grpc-v1', 'grpc-v2'];

/**
 * Chooses the runtime of a predictor by KServe's rules (v0.15). A service that names its runtime gets that one
 * or a refusal; otherwise the first candidate wins. The object must be defaulted and have a `model`.
 */
export function selectRuntime(object: InferenceService, lists: RuntimeLists): RuntimeSelection {
  const { model, workerSpec } = object.spec.predictor;
  if (model === undefined) {
    return {
      ok: false,
      code: 'invalid_predictor_spec',
      reason: 'InvalidPredictorSpec',
      message: 'The predictor has no model',
      error: 'the predictor has no `model`, so there is no runtime to choose: name a modelFormat',
    };
  }
  if (model.runtime !== undefined && model.runtime !== '') {
    return selectNamed(object, model.runtime, lists);
  }
  const wanted: Wanted = {
    namespace: object.metadata.namespace ?? 'default',
    modelFormat: model.modelFormat,
    protocolVersion: model.protocolVersion,
    multiModel: false,
    multiNode: workerSpec !== undefined,
  };
  const found = candidates(wanted, lists);
  const rejected = rejections(wanted, lists);
  const [runtime] = found;
  if (runtime === undefined) return noneFound(wanted, rejected);
  return {
    ok: true,
    runtime,
    candidates: found,
    rejected,
    explicit: false,
    object: withRuntime(object, runtime),
  };
}

/** All runtimes that could serve it, in KServe's order: the first is its choice. */
export function candidates(wanted: Wanted, lists: RuntimeLists): readonly AnyRuntime[] {
  const fitting = (runtimes: readonly AnyRuntime[]) =>
    runtimes
      .filter((runtime) => whyNot(runtime, wanted) === null)
      .sort(byProtocolAgeName)
      // A stable sort: with equal priority the first order stands (upstream's is unstable, a quirk).
      .sort((a, b) => priority(b, wanted) - priority(a, wanted));
  return [...fitting(namespaced(wanted.namespace, lists)), ...fitting(lists.clusterServingRuntimes)];
}

/** The object as it is served by a runtime: named, with the runtime's defaults and a protocol. */
export function withRuntime(object: InferenceService, runtime: AnyRuntime): InferenceService {
  const defaulted = applyRuntimeDefaults(object, runtime.metadata.name);
  const { model } = defaulted.spec.predictor;
  if (model === undefined) return defaulted;
  const protocolVersion = model.protocolVersion ?? lowestProtocol(runtime);
  return {
    ...defaulted,
    spec: {
      ...defaulted.spec,
      predictor: {
        ...defaulted.spec.predictor,
        model: {
          ...model,
          runtime: runtime.metadata.name,
          ...(protocolVersion === undefined ? {} : { protocolVersion }),
        },
      },
    },
  };
}

function namespaced(namespace: string, lists: RuntimeLists): readonly ServingRuntime[] {
  return lists.servingRuntimes.filter((runtime) => (runtime.metadata.namespace ?? 'default') === namespace);
}

function rejections(wanted: Wanted, lists: RuntimeLists): readonly Rejected[] {
  const all: readonly AnyRuntime[] = [
    ...namespaced(wanted.namespace, lists),
    ...lists.clusterServingRuntimes,
  ];
  return all.flatMap((runtime) => {
    const why = whyNot(runtime, wanted);
    return why === null ? [] : [{ runtime, why }];
  });
}

function whyNot(runtime: AnyRuntime, wanted: Wanted): string | null {
  const { spec } = runtime;
  const { name, version } = wanted.modelFormat;
  if (spec.disabled === true) return 'it is disabled';
  if ((spec.multiModel ?? false) !== wanted.multiModel) {
    return wanted.multiModel ? 'it serves one model only' : 'it is for multi-model serving';
  }
  if ((spec.workerSpec !== undefined) !== wanted.multiNode) {
    return wanted.multiNode ? 'it does not run on several nodes' : 'it runs on several nodes';
  }
  if (!supportsFormat(runtime, wanted.modelFormat, false)) {
    const same = (spec.supportedModelFormats ?? []).filter((format) => format.name === name);
    if (same.length === 0) return `it does not serve ${name}`;
    if (same.every((format) => format.autoSelect !== true)) {
      return `it serves ${name} only when it is named (no autoSelect)`;
    }
    const versions = same.map((format) => format.version ?? 'none').join(', ');
    return `it serves ${name} of version ${versions}, asked is ${version ?? 'none'}`;
  }
  const protocol = wanted.protocolVersion ?? 'v1';
  if (!supportsProtocol(runtime, protocol)) {
    return `it does not speak ${protocol}, only ${(spec.protocolVersions ?? []).join(', ')}`;
  }
  return null;
}

/** Exact words, no semantic versions: "1" is not "1.2", and an entry without version fits no model with one. */
function supportsFormat(runtime: AnyRuntime, wanted: Model['modelFormat'], named: boolean): boolean {
  return (runtime.spec.supportedModelFormats ?? []).some((format) => {
    if (!named && format.autoSelect !== true) return false;
    if (format.name !== wanted.name) return false;
    // KServe puts both "mt:<name>" and "mt:<name>:<version>" of every entry into its set.
    return wanted.version === undefined || format.version === wanted.version;
  });
}

function supportsProtocol(runtime: AnyRuntime, protocol: string): boolean {
  const spoken = runtime.spec.protocolVersions ?? [];
  return spoken.length === 0 || spoken.includes(protocol);
}

function protocolOrdinal(runtime: AnyRuntime): number {
  const ordinals = (runtime.spec.protocolVersions ?? []).map((protocol) => {
    const at = protocolOrder.indexOf(protocol);
    return at === -1 ? protocolOrder.length + 1 : at + 1;
  });
  return Math.min(protocolOrder.length + 1, ...ordinals);
}

function lowestProtocol(runtime: AnyRuntime): string | undefined {
  return protocolOrder.find((protocol) => runtime.spec.protocolVersions?.includes(protocol) === true);
}

function byProtocolAgeName(a: AnyRuntime, b: AnyRuntime): number {
  return (
    protocolOrdinal(a) - protocolOrdinal(b) ||
    compare(b.metadata.creationTimestamp ?? '', a.metadata.creationTimestamp ?? '') ||
    compare(a.metadata.name, b.metadata.name)
  );
}

/** Of the first entry with the format's name, whatever its version (upstream's rule); none counts as last. */
function priority(runtime: AnyRuntime, wanted: Wanted): number {
  const formats = runtime.spec.supportedModelFormats ?? [];
  return formats.find((format) => format.name === wanted.modelFormat.name)?.priority ?? 0;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function selectNamed(object: InferenceService, name: string, lists: RuntimeLists): RuntimeSelection {
  const namespace = object.metadata.namespace ?? 'default';
  const runtime =
    namespaced(namespace, lists).find((candidate) => candidate.metadata.name === name) ??
    lists.clusterServingRuntimes.find((candidate) => candidate.metadata.name === name);
  if (runtime === undefined) return notRecognized(name, namespace, lists);
  if (runtime.spec.disabled === true) {
    return {
      ok: false,
      code: 'runtime_disabled',
      reason: 'RuntimeDisabled',
      message: 'Specified runtime is disabled',
      error: `specified runtime ${name} is disabled`,
    };
  }
  const served = withRuntime(object, runtime);
  const model = applyRuntimeDefaults(object, name).spec.predictor.model;
  const { protocolVersion } = model ?? {};
  if (protocolVersion !== undefined && !supportsProtocol(runtime, protocolVersion)) {
    const spoken = (runtime.spec.protocolVersions ?? []).join(', ');
    return unsupported('protocol version', name, `asked is ${protocolVersion}, it speaks ${spoken}`);
  }
  if (model !== undefined && !supportsFormat(runtime, model.modelFormat, true)) {
    const formats = (runtime.spec.supportedModelFormats ?? []).map(formatText).join(', ');
    const asked = formatText(model.modelFormat);
    return unsupported('framework/version', name, `asked is ${asked}, it serves ${formats || 'none'}`);
  }
  return { ok: true, runtime, candidates: [runtime], rejected: [], explicit: true, object: served };
}

function formatText(format: Model['modelFormat']): string {
  return format.version === undefined ? format.name : `${format.name} ${format.version}`;
}

function unsupported(what: string, name: string, hint: string): SelectionFailure {
  return {
    ok: false,
    code: 'no_supporting_runtime',
    reason: 'NoSupportingRuntime',
    message: `Specified runtime does not support specified ${what}`,
    error: `specified runtime ${name} does not support specified ${what}: ${hint}`,
  };
}

function notRecognized(name: string, namespace: string, lists: RuntimeLists): SelectionFailure {
  const known = [...namespaced(namespace, lists), ...lists.clusterServingRuntimes].map(
    (runtime) => runtime.metadata.name,
  );
  return {
    ok: false,
    code: 'runtime_not_recognized',
    reason: 'RuntimeNotRecognized',
    message: 'Waiting for runtime to become available',
    error:
      `No ServingRuntimes or ClusterServingRuntimes with the name: ${name}. ` +
      (known.length === 0 ? 'None is applied yet' : `Known are ${known.join(', ')}`),
  };
}

function noneFound(wanted: Wanted, rejected: readonly Rejected[]): SelectionFailure {
  const { name, version } = wanted.modelFormat;
  const nearest = rejected
    .filter(({ runtime }) =>
      (runtime.spec.supportedModelFormats ?? []).some((format) => format.name === name),
    )
    .map(({ runtime, why }) => `${runtime.metadata.name}: ${why}`);
  const hint =
    nearest.length === 0
      ? `No runtime that is applied serves ${name}; apply one, or name another format`
      : nearest.join('; ');
  return {
    ok: false,
    code: 'no_supporting_runtime',
    reason: 'NoSupportingRuntime',
    message: 'No runtime found to support specified framework/version',
    error: `no runtime found to support predictor with model type: {${name} ${version ?? '<nil>'}}. ` + hint,
  };
}
