/**
 * Prompts by what they mean: unit vectors in one flat array, searched whole. Exact, so nothing is missed that an
 * approximate index would miss, and fast enough at its bound: a row is given up as soon as the part of the cosine that
 * is still to come cannot lift it over the threshold (Cauchy-Schwarz). When full, the oldest row makes room; whether
 * there is to be more room before is the owner's to say.
 */
export interface Neighbour {
  readonly key: string;
  /** Cosine, at most 1. */
  readonly similarity: number;
}

export interface Row {
  /** What must be equal, or a digest of it: it is counted as a few bytes. */
  readonly frame: string;
  /** Of the answer. */
  readonly key: string;
}

export class Vectors {
  readonly dimensions: number;
  private readonly rowsMax: number;
  /** Dimensions that are compared before the first look at the bound. */
  private readonly head: number;
  /** Oldest first from `next` on, and then from the begin. */
  private rows: Row[] = [];
  private readonly rowOf = new Map<string, number>();
  /** Where the next row goes: on the oldest one, when all places are taken. */
  private next = 0;
  private places: Places;

  constructor(dimensions: number, rowsMax: number) {
    this.dimensions = dimensions;
    this.rowsMax = rowsMax;
    this.head = Math.ceil(dimensions / 4);
    this.places = this.placesFor(Math.min(rowsMax, rowsMin));
  }

  /** What the least of them takes. */
  static bytesMin(dimensions: number, rowsMax: number): number {
    return bytesOf(Math.min(rowsMax, rowsMin), dimensions);
  }

  get size(): number {
    return this.rowOf.size;
  }

  get bytes(): number {
    return bytesOf(this.capacity, this.dimensions);
  }

  has(key: string): boolean {
    return this.rowOf.has(key);
  }

  /** The next row takes the place of the oldest one. */
  get isFull(): boolean {
    return this.rows.length === this.capacity;
  }

  /** What `grow` takes; 0 when there are as many places as there may be. */
  get growthBytes(): number {
    return bytesOf(this.grownCapacity, this.dimensions) - this.bytes;
  }

  grow(): void {
    this.resize(this.grownCapacity);
  }

  get canShrink(): boolean {
    return this.capacity > rowsMin;
  }

  /** Gives up a quarter of its memory, and the oldest rows with it. */
  shrink(): void {
    this.resize(Math.max(rowsMin, Math.floor(this.capacity * 0.75)));
  }

  /** @param vector of length 1 */
  add(row: Row, vector: Float32Array): void {
    if (vector.length !== this.dimensions) throw new RangeError('a vector of another length');
    const at = this.rowOf.get(row.key) ?? this.takeRow();
    const { heads, rests, tails, hashes } = this.places;
    this.rows[at] = row;
    this.rowOf.set(row.key, at);
    hashes[at] = hashOf(row.frame);
    const rest = vector.subarray(this.head);
    heads.set(vector.subarray(0, this.head), at * this.head);
    rests.set(rest, at * rest.length);
    tails[at] = Math.sqrt(dot(rest, rest, 0));
  }

  /** The answer's key is gone for good. */
  remove(key: string): void {
    const at = this.rowOf.get(key);
    if (at === undefined) return;
    this.rowOf.delete(key);
    this.rows[at] = nobody;
  }

  /** @returns the most similar row of the same frame at or above the threshold, or null */
  nearest(frame: string, vector: Float32Array, threshold: number): Neighbour | null {
    if (vector.length !== this.dimensions) return null;
    const { heads, rests, tails, hashes } = this.places;
    const hash = hashOf(frame);
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
      if (row?.frame !== frame) continue;
      best = similarity;
      found = row;
    }
    return found === null ? null : { key: found.key, similarity: Math.min(1, best) };
  }

  private get capacity(): number {
    return this.places.tails.length;
  }

  private get grownCapacity(): number {
    return Math.min(this.rowsMax, Math.ceil(this.capacity * 1.5));
  }

  private takeRow(): number {
    const at = this.next;
    this.next = (at + 1) % this.capacity;
    const old = this.rows[at];
    if (old !== undefined) this.rowOf.delete(old.key);
    return at;
  }

  /** The newest rows keep their order; those that were forgotten leave no gap. */
  private resize(capacity: number): void {
    const { rows, places, head } = this;
    const rest = this.dimensions - head;
    const order = [...rows.keys()];
    const kept = [...order.slice(this.next), ...order.slice(0, this.next)]
      .filter((at) => rows[at] !== nobody)
      .slice(-capacity);
    this.places = this.placesFor(capacity);
    this.rows = [];
    this.rowOf.clear();
    for (const from of kept) {
      const to = this.rows.length;
      const row = rows[from] ?? nobody;
      this.rows.push(row);
      this.rowOf.set(row.key, to);
      this.places.heads.set(places.heads.subarray(from * head, (from + 1) * head), to * head);
      this.places.rests.set(places.rests.subarray(from * rest, (from + 1) * rest), to * rest);
      this.places.tails[to] = places.tails[from] ?? 0;
      this.places.hashes[to] = places.hashes[from] ?? 0;
    }
    this.next = kept.length % capacity;
  }

  private placesFor(capacity: number): Places {
    return {
      heads: new Float32Array(capacity * this.head),
      rests: new Float32Array(capacity * (this.dimensions - this.head)),
      tails: new Float32Array(capacity),
      hashes: new Int32Array(capacity),
    };
  }
}

/** Of as many rows as there is room for. */
interface Places {
  /** The first numbers of each row, side by side: most rows are given up after them. */
  readonly heads: Float32Array;
  /** The others. */
  readonly rests: Float32Array;
  /** Length of each row's rest. */
  readonly tails: Float32Array;
  /** A number for each row's frame: equal ones have equal numbers. */
  readonly hashes: Int32Array;
}

/** Room that each has from its begin. */
const rowsMin = 8;

/** Frame and key of a row in memory, about. */
const rowBytes = 300;

function bytesOf(rows: number, dimensions: number): number {
  return rows * ((dimensions + 2) * 4 + rowBytes);
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Cosines of 32-bit vectors with themselves come out this far below 1, at most. */
const rounding = 1e-5;

const nobody: Row = { frame: '', key: '' };

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
