import type { Predictor, PredictorExtension } from './inference-service.schema.ts';

/** KServe's per-framework predictor fields, older than `model`, in the order in which defaulting looks at them. */
export const legacyFrameworks = [
  'sklearn',
  'tensorflow',
  'xgboost',
  'pytorch',
  'triton',
  'onnx',
  'huggingface',
  'pmml',
  'lightgbm',
  'paddle',
] as const;
export type LegacyFramework = (typeof legacyFrameworks)[number];

/** The framework field that is set, by KServe's order; null when none is. */
export function legacyFramework(
  predictor: Predictor,
): { readonly framework: LegacyFramework; readonly extension: PredictorExtension } | null {
  for (const framework of legacyFrameworks) {
    const extension = predictor[framework];
    if (extension !== undefined) return { framework, extension };
  }
  return null;
}
