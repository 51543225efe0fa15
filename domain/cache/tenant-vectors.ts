import { Vectors } from './vectors.ts';
import type { Neighbour, Row } from './vectors.ts';

/** A prompt to remember. */
interface Learnt extends Row {
  /** Of length 1. */
  readonly vector: Float32Array;
  /** Of the tenant's; counts from its first one on. */
  readonly rowsMax: number;
  /** Its answer is gone by then. */
  readonly untilMs: number;
}

/**
 * The prompts of all tenants in one bounded memory. Once it is full, the largest tenant makes room, with its oldest
 * prompts, so who asks for much loses its own and not what others remember: tenants that want more come to have
 * about the same. Before that go tenants whose answers are all gone, and at last, where nobody has more than the
 * least, the one that was not used for longest.
 */
export class TenantVectors {
  /** The least recently used first. */
  private readonly tenants = new Map<string, Tenant>();
  private bytesMax = 0;
  bytes = 0;

  get size(): number {
    let sum = 0;
    for (const { vectors } of this.tenants.values()) sum += vectors.size;
    return sum;
  }

  use(bytesMax: number, nowMs: number): void {
    this.bytesMax = bytesMax;
    if (bytesMax === 0) {
      this.tenants.clear();
      this.bytes = 0;
    }
    while (this.bytes > bytesMax && this.tenants.size > 0) this.giveUp(this.survey(nowMs));
  }

  /** @returns the tenant's most similar prompt of the same frame at or above the threshold, or null */
  nearest(tenant: string, frame: string, vector: Float32Array, threshold: number): Neighbour | null {
    const known = this.tenants.get(tenant);
    if (known === undefined) return null;
    this.tenants.delete(tenant);
    this.tenants.set(tenant, known);
    return known.vectors.nearest(frame, vector, threshold);
  }

  /** Vectors of another length than the tenant's others begin anew. */
  add(tenant: string, learnt: Learnt, nowMs: number): void {
    const { frame, key, vector, untilMs } = learnt;
    const known = this.tenants.get(tenant);
    this.tenants.delete(tenant); // room is not made at its cost
    const vectors = this.roomFor(known?.vectors, learnt, nowMs);
    if (vectors === null) return;
    vectors.add({ frame, key }, vector);
    this.tenants.set(tenant, { vectors, untilMs: Math.max(known?.untilMs ?? 0, untilMs) });
  }

  forget(tenant: string, key: string): void {
    this.tenants.get(tenant)?.vectors.remove(key);
  }

  /** @returns where it goes, counted in `bytes`; null: nowhere */
  private roomFor(
    known: Vectors | undefined,
    { key, vector, rowsMax }: Learnt,
    nowMs: number,
  ): Vectors | null {
    if (known?.dimensions === vector.length) {
      if (known.isFull && !known.has(key)) this.widen(known, nowMs);
      return known;
    }
    this.bytes -= known?.bytes ?? 0;
    const bytes = Vectors.bytesMin(vector.length, rowsMax);
    if (bytes > this.bytesMax) return null;
    while (this.bytes + bytes > this.bytesMax) this.giveUp(this.survey(nowMs));
    this.bytes += bytes;
    return new Vectors(vector.length, rowsMax);
  }

  /** Gives a tenant half as much more where there is memory, or another tenant has more than it would have then. */
  private widen(vectors: Vectors, nowMs: number): void {
    const { growthBytes } = vectors;
    if (growthBytes === 0) return; // as many as it may have: the oldest makes room
    while (this.bytes + growthBytes > this.bytesMax) {
      const survey = this.survey(nowMs);
      const { largest } = survey;
      if (survey.dead === null && (largest === null || largest.bytes < vectors.bytes + growthBytes)) return;
      this.giveUp(survey);
    }
    this.bytes += growthBytes;
    vectors.grow();
  }

  private giveUp({ dead, largest }: Survey): void {
    if (dead === null && largest !== null) {
      this.bytes -= largest.bytes;
      largest.shrink();
      this.bytes += largest.bytes;
      return;
    }
    const gone = dead ?? this.tenants.keys().next().value ?? '';
    this.bytes -= this.tenants.get(gone)?.vectors.bytes ?? 0;
    this.tenants.delete(gone);
  }

  private survey(nowMs: number): Survey {
    let largest: Vectors | null = null;
    for (const [name, { vectors, untilMs }] of this.tenants) {
      if (untilMs <= nowMs) return { dead: name, largest: null };
      if (vectors.canShrink && vectors.bytes > (largest?.bytes ?? 0)) largest = vectors;
    }
    return { dead: null, largest };
  }
}

interface Tenant {
  readonly vectors: Vectors;
  /** All its answers are gone by then. */
  readonly untilMs: number;
}

interface Survey {
  /** A tenant whose answers are all gone. */
  readonly dead: string | null;
  /** The largest one of which something can be taken. */
  readonly largest: Vectors | null;
}
