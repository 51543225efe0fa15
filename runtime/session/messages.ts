import type { ErrorCode } from '../../domain/errors.ts';
import type { Tensor } from '../../domain/inference-protocol/datatypes.ts';
import type { TensorSpec } from '../../domain/inference-protocol/tensor-spec.ts';
import type { ModelFiles } from '../model-folder.ts';

/** What the server and a model's thread say to each other. The thread does one job at a time, in order. */
export interface ThreadStart {
  readonly files: ModelFiles;
  readonly threads: number;
}

export type Job =
  | { readonly kind: 'run'; readonly inputs: readonly Tensor[]; readonly outputs: readonly string[] }
  | { readonly kind: 'embed'; readonly texts: readonly EmbeddingInput[] };

/** A text, or the token ids of one. */
export type EmbeddingInput = string | readonly number[];

export interface Embeddings {
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

export interface ModelShape {
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

export type Report =
  | { readonly kind: 'loaded'; readonly shape: ModelShape }
  | { readonly kind: 'ran'; readonly outputs: readonly Tensor[] }
  | { readonly kind: 'embedded'; readonly embeddings: Embeddings }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string };
