import type { InferenceService } from './inference-service.schema.ts';

/**
 * KServe v0.15 calls its modes Serverless, RawDeployment and ModelMesh; v0.16 renamed the first two. All five
 * names are understood, and v0.15's are stored, so that one object never looks changed because of a synonym.
 */
export type DeploymentMode = 'Serverless' | 'RawDeployment' | 'ModelMesh';

export const deploymentModeAnnotation = 'serving.kserve.io/deploymentMode';

const canonical: Readonly<Record<string, DeploymentMode>> = {
  Serverless: 'Serverless',
  Knative: 'Serverless',
  RawDeployment: 'RawDeployment',
  Standard: 'RawDeployment',
  ModelMesh: 'ModelMesh',
};

/** The canonical name of a mode, or null when KServe knows no such mode. */
export function canonicalDeploymentMode(name: string): DeploymentMode | null {
  return Object.hasOwn(canonical, name) ? (canonical[name] ?? null) : null;
}

/** The mode that the object's own annotation asks for, or null. */
export function annotatedDeploymentMode(object: Pick<InferenceService, 'metadata'>): DeploymentMode | null {
  const given = object.metadata.annotations?.[deploymentModeAnnotation];
  return given === undefined ? null : canonicalDeploymentMode(given);
}
