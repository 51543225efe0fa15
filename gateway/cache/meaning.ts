/** What a prompt means, and what must be equal beside it. */
export interface Meaning {
  /** A digest. */
  readonly frame: string;
  readonly vector: Float32Array;
}
