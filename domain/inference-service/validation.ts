import { canonicalDeploymentMode, deploymentModeAnnotation } from './deployment-mode.ts';
import type { InferenceService } from './inference-service.schema.ts';
import { autoscalerClassAnnotation } from './annotations.ts';
import { componentsProblem } from './validation-components.ts';
import { multiNodeProblem, type ValidationConfig } from './validation-multi-node.ts';
import { storageUrisProblem } from './validation-storage.ts';

export type { ValidationConfig } from './validation-multi-node.ts';

const autoscalerClasses = new Set(['hpa', 'external', 'keda', 'none']);
const nameFormat = '[a-z]([-a-z0-9]*[a-z0-9])?';
const namePattern = new RegExp(`^${nameFormat}$`);

/**
 * KServe's admission checks (v0.15), in its order and in its words, since people search for these texts. The
 * object must be defaulted. Where upstream's behaviour is a known slip, the sane one is taken, with a comment.
 *
 * @param previous the object as it is stored, on an update
 * @returns the first failure's text, or null
 */
export function validateInferenceService(
  object: InferenceService,
  previous?: InferenceService,
  config: ValidationConfig = {},
): string | null {
  return (
    modeChangeProblem(object, previous) ??
    nameProblem(object.metadata.name) ??
    autoscalerProblem(object) ??
    multiNodeProblem(object, config) ??
    collocationProblem(object) ??
    componentsProblem(object) ??
    storageUrisProblem(object)
  );
}

/** The mode that was carried out once cannot be changed by annotation; without annotation it stays as it is. */
function modeChangeProblem(object: InferenceService, previous?: InferenceService): string | null {
  const before = previous?.status?.deploymentMode ?? '';
  const asked = object.metadata.annotations?.[deploymentModeAnnotation];
  if (before === '' || asked === undefined) return null;
  // Compared by meaning: v0.16's Standard is v0.15's RawDeployment, no change.
  const same = (canonicalDeploymentMode(before) ?? before) === (canonicalDeploymentMode(asked) ?? asked);
  return same ? null : `update rejected: deploymentMode cannot be changed from '${before}' to '${asked}'`;
}

function nameProblem(name: string): string | null {
  if (namePattern.test(name)) return null;
  return (
    `the InferenceService "${name}" is invalid: a InferenceService name must consist of lower case alphanumeric ` +
    `characters or '-', and must start with alphabetical character. (e.g. "my-name" or "abc-123", regex used for ` +
    `validation is '${nameFormat}')`
  );
}

function autoscalerProblem(object: InferenceService): string | null {
  const given = object.metadata.annotations?.[autoscalerClassAnnotation];
  if (given === undefined || autoscalerClasses.has(given)) return null;
  return `[${given}] is not a supported autoscaler class type`;
}

/** A transformer beside its predictor in one pod gets its model from the predictor. */
function collocationProblem({ spec }: InferenceService): string | null {
  const transformer = (spec.predictor.containers ?? []).find(({ name }) => name === 'transformer-container');
  const stored = (transformer?.env ?? []).some(({ name }) => name === 'STORAGE_URI');
  return stored ? 'storage uri should not be specified in transformer container' : null;
}
