/** A map that forgets what was put in first once it is full. Looking something up changes nothing, so it costs nothing. */
export class BoundedMap<V> {
  private readonly map = new Map<string, V>();
  private readonly sizeMax: number;

  constructor(sizeMax: number) {
    this.sizeMax = sizeMax;
  }

  get size(): number {
    return this.map.size;
  }

  get(key: string): V | undefined {
    return this.map.get(key);
  }

  set(key: string, value: V): void {
    this.map.delete(key);
    if (this.map.size >= this.sizeMax) {
      const [oldest] = this.map.keys();
      if (oldest !== undefined) this.map.delete(oldest);
    }
    this.map.set(key, value);
  }

  delete(key: string): void {
    this.map.delete(key);
  }

  clear(): void {
    this.map.clear();
  }
}
