/**
 * A prompt as a chain of hashes, one a block: two prompts have equal hashes as far as they begin alike, and so does
 * what a model server keeps of them (its own blocks are tokens; ours are bytes of the request, which need no
 * tokeniser). The first 4 KiB are read whole in blocks of 256 bytes; behind it blocks are 1 KiB, of which a quarter
 * is read: a long prompt costs little more than a short one. Nothing depends on a hash but where a request goes.
 */
export class BlockHashes {
  /** Of each block, and all blocks before it; 31 bits, never 0. */
  readonly keys = new Int32Array(blocksMax);
  count = 0;

  /** @param seed of what must be equal beside the text: the model */
  read(view: DataView, from: number, to: number, seed: number): void {
    const fineEnd = Math.min(to, from + fineBytes);
    let hash = seed;
    let count = 0;
    let at = from;
    for (; at + fineBlock <= fineEnd; at += fineBlock) {
      hash = blockHash(view, at, at + fineBlock, 16, hash);
      this.keys[count] = finished(hash);
      count += 1;
    }
    if (count === fineBlocks) {
      for (; at + coarseBlock <= to && count < blocksMax; at += coarseBlock) {
        hash = blockHash(view, at, at + coarseBlock, 64, hash);
        this.keys[count] = finished(hash);
        count += 1;
      }
    }
    this.count = count;
  }

  /** Bytes that the first `blocks` blocks stand for. */
  bytesOf(blocks: number): number {
    return blocks <= fineBlocks ? blocks * fineBlock : fineBytes + (blocks - fineBlocks) * coarseBlock;
  }
}

const fineBlock = 256;
const fineBytes = 4096;
const fineBlocks = fineBytes / fineBlock;
const coarseBlock = 1024;
/** 4 KiB + 112 KiB: what is behind it does not say where a request goes. */
const blocksMax = fineBlocks + 112;

/** Four words at every `step` bytes, in four lanes that do not wait for each other. */
function blockHash(view: DataView, from: number, to: number, step: number, seed: number): number {
  let a = seed;
  let b = seed ^ 0x5bd1e995;
  let c = seed ^ 0x2545f491;
  let d = seed ^ 0x165667b1;
  for (let at = from; at < to; at += step) {
    a = mixed(a, view.getInt32(at, true));
    b = mixed(b, view.getInt32(at + 4, true));
    c = mixed(c, view.getInt32(at + 8, true));
    d = mixed(d, view.getInt32(at + 12, true));
  }
  return mixed(mixed(mixed(a, b), c), d);
}

function mixed(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 0x9e3779b1);
  return (product << 13) | (product >>> 19);
}

/** Each bit of the hash depends on each bit before it (the last steps of MurmurHash3). */
export function finished(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) & 0x7fffffff || 1;
}

export function textHash(text: string, seed = 0): number {
  let hash = seed ^ text.length;
  for (let at = 0; at < text.length; at += 1) hash = mixed(hash, text.charCodeAt(at));
  return finished(hash);
}
