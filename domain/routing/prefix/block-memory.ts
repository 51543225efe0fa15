/**
 * Which blocks a model server most likely still has: those that it was sent last. Least recently used ones are
 * forgotten by generations: when the young generation is full it becomes the old one, and the old one is forgotten;
 * a block that is used again joins the young one. So at least the last half of the capacity is remembered, and never
 * more than all of it. Tables of numbers without objects: a look-up costs nanoseconds, and nothing is left to collect.
 */
export class BlockMemory {
  private readonly half: number;
  private readonly mask: number;
  /** Open addressing, 0: free. Made with the first block: most endpoints serve no prompts. */
  private young = none;
  private old = none;
  private youngCount = 0;
  private oldCount = 0;

  /** @param capacity blocks remembered at most */
  constructor(capacity: number) {
    this.half = Math.max(1, capacity >> 1);
    this.mask = 2 ** Math.ceil(Math.log2(2 * this.half)) - 1; // at most half full
  }

  /** Blocks in both generations; one that is in both counts twice. */
  get size(): number {
    return this.youngCount + this.oldCount;
  }

  /** @returns how many of the first blocks are there without a gap */
  matched(keys: Int32Array, count: number): number {
    const { young, old, mask } = this;
    if (young === none) return 0;
    let at = 0;
    for (; at < count; at += 1) {
      const key = keys[at] ?? 0;
      if (!has(young, mask, key) && !has(old, mask, key)) break;
    }
    return at;
  }

  /** The server was sent these blocks. */
  add(keys: Int32Array, count: number): void {
    if (this.young === none) {
      this.young = new Int32Array(this.mask + 1);
      this.old = new Int32Array(this.mask + 1);
    }
    for (let at = 0; at < count; at += 1) {
      if (this.youngCount >= this.half) this.age();
      if (put(this.young, this.mask, keys[at] ?? 0)) this.youngCount += 1;
    }
  }

  private age(): void {
    const { young, old } = this;
    this.old = young;
    this.oldCount = this.youngCount;
    this.young = old.fill(0);
    this.youngCount = 0;
  }
}

const none = new Int32Array(0);

function has(table: Int32Array, mask: number, key: number): boolean {
  for (let at = key & mask; ; at = (at + 1) & mask) {
    const found = table[at];
    if (found === key) return true;
    if (found === 0) return false;
  }
}

/** @returns whether it was new */
function put(table: Int32Array, mask: number, key: number): boolean {
  for (let at = key & mask; ; at = (at + 1) & mask) {
    const found = table[at];
    if (found === key) return false;
    if (found === 0) {
      table[at] = key;
      return true;
    }
  }
}
