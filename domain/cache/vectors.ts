/**
 * Prompts by what they mean: unit vectors in one flat array, searched whole. Exact, so nothing is missed that an
 * approximate index would miss, and fast enough at its bound: a row is given up as soon as the part of the cosine that
 * is still to come cannot lift it over the threshold (Cauchy-Schwarz). When full, the oldest row makes room.
 */
export interface Neighbour {
  readonly key: string;
  /** Cosine, at most 1. */
  readonly similarity: number;
}

interface Row {
  /** What must be equal. */
  readonly frame: string;
  readonly marks: string;
  /** Of the answer. */
  readonly key: string;
}

export class Vectors {
  readonly dimensions: number;
  private readonly rowsMax: number;
  /** Dimensions that are compared before the first look at the bound. */
  private readonly head: number;
  /** The first `head` numbers of each row, side by side: most rows are given up after them. */
  private heads: Float32Array;
  /** The others. */
  private rests: Float32Array;
  /** Length of each row's rest. */
  private tails: Float32Array;
  /** A number for each row's frame and marks: equal ones have equal numbers. */
  private hashes: Int32Array;
  private readonly rows: Row[] = [];
  private readonly rowOf = new Map<string, number>();
  private next = 0;

  constructor(dimensions: number, rowsMax: number) {
    this.dimensions = dimensions;
    this.rowsMax = rowsMax;
    this.head = Math.ceil(dimensions / 4);
    const rows = Math.min(rowsMax, 64);
    this.heads = new Float32Array(rows * this.head);
    this.rests = new Float32Array(rows * (dimensions - this.head));
    this.tails = new Float32Array(rows);
    this.hashes = new Int32Array(rows);
  }

  get size(): number {
    return this.rows.length;
  }

  get bytes(): number {
    return this.tails.length * (this.dimensions + 2) * 4 + this.rows.length * rowBytes;
  }

  /** @param vector of length 1 */
  add(row: Row, vector: Float32Array): void {
    if (vector.length !== this.dimensions) throw new RangeError('a vector of another length');
    const at = this.rowOf.get(row.key) ?? this.takeRow();
    this.rows[at] = row;
    this.rowOf.set(row.key, at);
    this.hashes[at] = hashOf(row.frame, row.marks);
    const rest = vector.subarray(this.head);
    this.heads.set(vector.subarray(0, this.head), at * this.head);
    this.rests.set(rest, at * rest.length);
    this.tails[at] = Math.sqrt(dot(rest, rest, 0));
  }

  /** The answer's key is gone for good. */
  remove(key: string): void {
    const at = this.rowOf.get(key);
    if (at === undefined) return;
    this.rowOf.delete(key);
    this.rows[at] = nobody;
  }

  /** @returns the most similar row of the same frame and marks at or above the threshold, or null */
  nearest(frame: string, marks: string, vector: Float32Array, threshold: number): Neighbour | null {
    if (vector.length !== this.dimensions) return null;
    const { heads, rests, tails, hashes } = this;
    const hash = hashOf(frame, marks);
    const head = vector.subarray(0, this.head);
    const rest = vector.subarray(this.head);
    const tail = Math.sqrt(dot(rest, rest, 0));
    let best = threshold - rounding;
    let found: Row | null = null;
    for (let at = 0; at < this.rows.length; at += 1) {
      if (hashes[at] !== hash) continue;
      const begun = dot(head, heads, at * head.length);
      if (begun + tail * (tails[at] ?? 1) < best) continue;
      const similarity = begun + dot(rest, rests, at * rest.length);
      if (similarity < best || (found !== null && similarity === best)) continue;
      const row = this.rows[at];
      if (row?.frame !== frame || row.marks !== marks) continue;
      best = similarity;
      found = row;
    }
    return found === null ? null : { key: found.key, similarity: Math.min(1, best) };
  }

  private takeRow(): number {
    const at = this.next;
    this.next = (at + 1) % this.rowsMax;
    const old = this.rows[at];
    if (old !== undefined) this.rowOf.delete(old.key);
    if (at >= this.tails.length) this.grow();
    return at;
  }

  private grow(): void {
    const rows = Math.min(this.rowsMax, this.tails.length * 2);
    this.heads = grown(this.heads, rows * this.head);
    this.rests = grown(this.rests, rows * (this.dimensions - this.head));
    this.tails = grown(this.tails, rows);
    const hashes = new Int32Array(rows);
    hashes.set(this.hashes);
    this.hashes = hashes;
  }
}

function grown(values: Float32Array, length: number): Float32Array {
  const more = new Float32Array(length);
  more.set(values);
  return more;
}

/** FNV-1a over both texts. */
function hashOf(frame: string, marks: string): number {
  let hash = 0x811c9dc5;
  for (const text of [frame, '\n', marks]) {
    for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash;
}

/** Cosines of 32-bit vectors with themselves come out this far below 1, at most. */
const rounding = 1e-5;

/** Frame, marks and key of a row in memory, about. */
const rowBytes = 300;

const nobody: Row = { frame: '', marks: '', key: '' };

/** Of `a` with the part of `b` that begins at `offset`. Four sums at once: the additions do not wait for each other. */
function dot(a: Float32Array, b: Float32Array, offset: number): number {
  let w = 0;
  let x = 0;
  let y = 0;
  let z = 0;
  let at = 0;
  for (; at + 3 < a.length; at += 4) {
    w += (a[at] ?? 0) * (b[offset + at] ?? 0);
    x += (a[at + 1] ?? 0) * (b[offset + at + 1] ?? 0);
    y += (a[at + 2] ?? 0) * (b[offset + at + 2] ?? 0);
    z += (a[at + 3] ?? 0) * (b[offset + at + 3] ?? 0);
  }
  for (; at < a.length; at += 1) w += (a[at] ?? 0) * (b[offset + at] ?? 0);
  return w + x + y + z;
}

/** @returns the vector at length 1; null for one without a direction, or with something that is no number */
export function unit(values: readonly unknown[]): Float32Array | null {
  const vector = new Float32Array(values.length);
  let sum = 0;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at];
    if (typeof value !== 'number' || !Number.isFinite(value)) return null;
    vector[at] = value;
    sum += value * value;
  }
  const length = Math.sqrt(sum);
  if (!Number.isFinite(length) || length === 0) return null;
  return vector.map((value) => value / length);
}
