import type { ErrorCode } from '../errors.ts';
import { fieldsWithoutEffect } from '../inference-service/effect.ts';
import type { InferenceService } from '../inference-service/inference-service.schema.ts';
import type { Resolution } from '../inference-service/messages.ts';
import type { RuntimeLists } from '../serving-runtime/serving-runtime.schema.ts';
import {
  type AnyRuntime,
  type RuntimeSelection,
  selectRuntime,
  withRuntime,
} from '../serving-runtime/select.ts';
import { runsLocally } from '../serving-runtime/local-annotations.ts';
import { renderWorkload } from './render.ts';

export type Resolved =
  | { readonly ok: true; readonly resolution: Resolution; readonly selection: Chosen }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      /** KServe's lastFailureInfo.reason and message. */
      readonly reason: string;
      readonly message: string;
      /** The whole text: what is wrong and what to do. */
      readonly error: string;
    };

/** Why this runtime: for `muster plan`. */
export interface Chosen {
  readonly explicit: boolean;
  /** Other runtimes that would do, in order, and those that would not, with the reason. */
  readonly others: readonly { readonly name: string; readonly why: string }[];
}

/**
 * What a generation of a service runs on the local platform: its runtime, its workload and the node, or the
 * refusal in KServe's words. The object must be defaulted (`applyDefaults`).
 *
 * Automatic selection keeps KServe's order, and takes the first runtime that can run without containers: on a
 * machine where all of KServe's stock runtimes are applied too, the local ones still serve.
 */
export function resolve(
  object: InferenceService,
  lists: RuntimeLists,
  generation: number,
  node: string,
): Resolved {
  const { predictor } = object.spec;
  if (predictor.model === undefined && (predictor.containers ?? []).length > 0) {
    return invalid(
      'a predictor of its own containers cannot run on this machine: describe the server once in a ServingRuntime ' +
        'with a command, and name a model here',
    );
  }
  const selection = selectRuntime(object, lists);
  if (!selection.ok) return selection;
  const runtime = selection.explicit
    ? selection.runtime
    : (selection.candidates.find(runsLocally) ?? selection.runtime);
  const served = runtime === selection.runtime ? selection.object : withRuntime(object, runtime);
  const rendered = renderWorkload(served, runtime, generation);
  if (!rendered.ok) {
    return rendered.code === 'invalid_predictor_spec'
      ? invalid(rendered.error)
      : { ...invalid(rendered.error), code: rendered.code };
  }
  return {
    ok: true,
    resolution: {
      workload: rendered.workload,
      runtime: { kind: runtime.kind, name: runtime.metadata.name },
      node,
      withoutEffect: fieldsWithoutEffect(object),
    },
    selection: { explicit: selection.explicit, others: others(selection, runtime) },
  };
}

function others(selection: Extract<RuntimeSelection, { ok: true }>, chosen: AnyRuntime): Chosen['others'] {
  const after = selection.candidates
    .filter((runtime) => runtime !== chosen)
    .map((runtime) => ({
      name: runtime.metadata.name,
      why: runsLocally(runtime) ? 'it would do, but comes later' : 'it needs containers',
    }));
  const rejected = selection.rejected.map(({ runtime, why }) => ({ name: runtime.metadata.name, why }));
  return [...after, ...rejected];
}

function invalid(error: string): Extract<Resolved, { ok: false }> {
  return {
    ok: false,
    code: 'invalid_predictor_spec',
    reason: 'InvalidPredictorSpec',
    message: error,
    error,
  };
}
