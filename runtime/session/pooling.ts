/** From a language model's output to one vector a text. */

/**
 * Mean over the tokens of each text, padding left out.
 * @param hidden row-major [texts, tokens, width]
 * @param lengths tokens of each text that are not padding
 */
export function meanPool(
  hidden: Float32Array,
  lengths: readonly number[],
  tokens: number,
  width: number,
): Float32Array[] {
  return lengths.map((length, row) => {
    const mean = new Float32Array(width);
    for (let token = 0; token < length; token++) {
      const start = (row * tokens + token) * width;
      for (let i = 0; i < width; i++) mean[i] = (mean[i] ?? 0) + (hidden[start + i] ?? 0);
    }
    return mean.map((sum) => sum / Math.max(1, length));
  });
}

/** The vector of length one in the same direction; a zero vector stays as it is. */
export function normalise(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}
