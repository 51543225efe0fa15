import { unzip } from 'node:zlib';

/**
 * Unpacks compressed messages, few at once: nobody knows how large one gets before it is unpacked, and a small one may
 * get a thousand times as large. More would not be faster: node has four threads for it.
 */
export const inflationsMax = 4;

interface Job {
  readonly bytes: Uint8Array;
  /** Asked when its turn comes. */
  readonly isWanted: () => boolean;
  readonly onDone: (error: Error | null, bytes: Buffer) => void;
}

export class Inflater {
  private readonly bytesMax: number;
  private readonly waiting: Job[] = [];
  private running = 0;

  /** @param bytesMax of an unpacked message */
  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Messages that wait or are being unpacked; their bytes are counted where they came. */
  get size(): number {
    return this.waiting.length + this.running;
  }

  add(job: Job): void {
    this.waiting.push(job);
    this.start();
  }

  private start(): void {
    while (this.running < inflationsMax) {
      const job = this.waiting.shift();
      if (job === undefined) return;
      if (!job.isWanted()) continue;
      this.running += 1;
      unzip(job.bytes, { maxOutputLength: this.bytesMax }, (error, bytes) => {
        this.running -= 1;
        job.onDone(error, bytes);
        this.start();
      });
    }
  }
}

/** Whether it begins as gzip or zlib; anything else cannot be unpacked by either. */
export function isDeflated(bytes: Uint8Array): boolean {
  const [first = 0, second = 0] = bytes;
  const isGzip = first === 0x1f && second === 0x8b;
  return isGzip || ((first & 0x0f) === 8 && (first * 256 + second) % 31 === 0);
}
