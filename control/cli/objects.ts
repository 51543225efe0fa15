import type { Phase } from '../../domain/inference-service/messages.ts';
import type {
  InferenceService,
  InferenceServiceStatus,
} from '../../domain/inference-service/inference-service.schema.ts';
import type {
  ClusterServingRuntime,
  ServingRuntime,
} from '../../domain/serving-runtime/serving-runtime.schema.ts';
import type { GatewayPolicyObject } from '../../domain/gateway-policy/gateway-policy-resource.schema.ts';
import { ageOf } from './age.ts';
import { gatewayPolicy, inferenceService } from './kinds.ts';
import type { Kind } from './kinds.ts';

export type AnyObject = InferenceService | ServingRuntime | ClusterServingRuntime | GatewayPolicyObject;

export interface View {
  readonly head: readonly string[];
  readonly row: (object: AnyObject, now: Date) => readonly string[];
}

/** The columns of KServe's own resource definitions, as `kubectl get` prints them, and the phase. */
export function viewOf(kind: Kind, isWide: boolean): View {
  if (kind === gatewayPolicy) return policyView;
  return kind === inferenceService ? servicesView(isWide) : runtimesView(isWide);
}

function servicesView(isWide: boolean): View {
  const wide = isWide ? ['FORMAT', 'RUNTIME', 'REPLICAS', 'STORAGE'] : [];
  return {
    head: [
      ...[
        'NAME',
        'URL',
        'READY',
        'PREV',
        'LATEST',
        'PREVROLLEDOUTREVISION',
        'LATESTREADYREVISION',
        'AGE',
        'PHASE',
      ],
      ...wide,
    ],
    row: (object, now) => {
      const service = object as InferenceService;
      const { status } = service;
      const traffic = status?.components?.['predictor']?.traffic ?? [];
      const latest = traffic.find((t) => t.latestRevision);
      const previous = traffic.find((t) => !t.latestRevision);
      return [
        service.metadata.name,
        status?.url ?? '',
        conditionOf(status, 'Ready')?.status ?? '',
        percentOf(previous),
        percentOf(latest),
        previous?.revisionName ?? '',
        latest?.revisionName ?? '',
        ageOf(service.metadata.creationTimestamp, now),
        phaseOf(service),
        ...(isWide ? wideColumns(service) : []),
      ];
    },
  };
}

const percentOf = (target: { readonly percent: number } | undefined): string => String(target?.percent ?? '');

function wideColumns(service: InferenceService): string[] {
  const copies = service.status?.modelStatus?.copies;
  const model = service.spec.predictor.model;
  return [
    model?.modelFormat.name ?? '',
    model?.runtime ?? '',
    copies === undefined ? '' : `${copies.totalCopies - copies.failedCopies}/${copies.totalCopies}`,
    model?.storageUri ?? model?.storageUris?.[0]?.uri ?? '',
  ];
}

function runtimesView(isWide: boolean): View {
  return {
    head: [
      'NAME',
      'DISABLED',
      'MODELTYPE',
      'CONTAINERS',
      'AGE',
      ...(isWide ? ['PROTOCOLS', 'ENVIRONMENT'] : []),
    ],
    row: (object, now) => {
      const { metadata, spec } = object as ServingRuntime;
      const formats = new Set((spec.supportedModelFormats ?? []).map((f) => f.name));
      return [
        metadata.name,
        spec.disabled === undefined ? '' : String(spec.disabled),
        [...formats].join(','),
        spec.containers.map((c) => c.name ?? '').join(','),
        ageOf(metadata.creationTimestamp, now),
        ...(isWide
          ? [
              (spec.protocolVersions ?? []).join(','),
              (spec.annotations ?? metadata.annotations)?.['muster.dev/local-environment'] ?? '',
            ]
          : []),
      ];
    },
  };
}

const policyView: View = {
  head: ['NAME', 'ACCESS', 'SECTIONS', 'AGE'],
  row: (object, now) => {
    const { metadata, spec } = object as GatewayPolicyObject;
    return [
      metadata.name,
      spec.access?.mode ?? 'open',
      Object.keys(spec).sort().join(','),
      ageOf(metadata.creationTimestamp, now),
    ];
  },
};

export function conditionOf(status: InferenceServiceStatus | undefined, type: string) {
  return status?.conditions?.find((c) => c.type === type);
}

export function isReady(service: InferenceService): boolean {
  const { status } = service;
  return (
    conditionOf(status, 'Ready')?.status === 'True' &&
    status?.observedGeneration === service.metadata.generation &&
    status?.modelStatus?.transitionStatus === 'UpToDate'
  );
}

/** Why the newest generation does not come up, in one line; null while it still may. */
export function failureOf(service: InferenceService): string | null {
  const { status } = service;
  if (status?.observedGeneration !== service.metadata.generation) return null;
  const transition = status?.modelStatus?.transitionStatus;
  if (transition !== 'BlockedByFailedLoad' && transition !== 'InvalidSpec') return null;
  const failure = status?.modelStatus?.lastFailureInfo;
  return failure === undefined ? transition : `${failure.reason}: ${failure.message}`;
}

const steps: readonly string[] = ['Pending', 'Resolving', 'Preparing', 'Starting', 'Routing'];

/** The phase as the workflow names it, read from the conditions that it writes. */
export function phaseOf(service: InferenceService): Phase {
  const { status } = service;
  if (service.metadata['deletionTimestamp'] !== undefined) return 'Deleting';
  return status?.conditions === undefined ? 'Pending' : phaseIn(service, status);
}

function phaseIn(service: InferenceService, status: InferenceServiceStatus): Phase {
  const step = conditionOf(status, 'LatestDeploymentReady')?.reason ?? '';
  if (step === 'Deleting') return 'Deleting';
  if (conditionOf(status, 'Stopped')?.status === 'True') return stoppedPhase(status);
  if (conditionOf(status, 'Active')?.status === 'False') return 'Asleep';
  if (steps.includes(step)) return step as Phase;
  if (isReady(service)) return 'Ready';
  if (conditionOf(status, 'Ready')?.status === 'True') return 'Degraded';
  return failureOf(service) === null ? 'Pending' : 'Failed';
}

function stoppedPhase(status: InferenceServiceStatus): Phase {
  return (status.modelStatus?.copies?.totalCopies ?? 0) > 0 ? 'Stopping' : 'Stopped';
}
