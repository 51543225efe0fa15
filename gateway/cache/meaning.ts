import type { SplitRequest } from '../../domain/cache/prompt.ts';

/** What a prompt means, and what must be equal beside it. */
export interface Meaning extends SplitRequest {
  readonly vector: Float32Array;
}
