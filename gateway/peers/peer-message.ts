/**
 * What one gateway process tells the others, a few times a second over Redis: how many requests it has at each server,
 * and which prompt blocks it sent where. A message is JSON; one that is not as it should be is dropped whole, since
 * nothing depends on it but where a request goes.
 */
export interface PeerMessage {
  /** Sender, unlike in all processes. */
  readonly from: string;
  /** Requests in flight by address: all that are not 0 when `isAll`, else those that changed. */
  readonly inFlight: ReadonlyMap<string, number>;
  readonly isAll: boolean;
  /** Block keys by address. */
  readonly blocks: ReadonlyMap<string, Int32Array>;
}

export const peerLimits = {
  /** A longer message is not read. */
  charactersMax: 256 * 1024,
  addressesMax: 4_096,
  /** Block keys of one message, all addresses together. */
  blocksMax: 8_192,
} as const;

export function formatMessage(message: PeerMessage): string {
  const blocks = [...message.blocks].map(([address, keys]) => [
    address,
    Buffer.from(keys.buffer, keys.byteOffset, keys.byteLength).toString('base64'),
  ]);
  return JSON.stringify({
    v: 1,
    from: message.from,
    inFlight: Object.fromEntries(message.inFlight),
    isAll: message.isAll,
    blocks: Object.fromEntries(blocks) as unknown,
  });
}

/** @returns null for what no gateway of this version sends */
export function parseMessage(text: string): PeerMessage | null {
  if (text.length > peerLimits.charactersMax) return null;
  try {
    const read = JSON.parse(text) as Partial<Record<'v' | 'from' | 'inFlight' | 'isAll' | 'blocks', unknown>>;
    if (read.v !== 1 || typeof read.from !== 'string' || read.from.length > 64) return null;
    const inFlight = counts(read.inFlight);
    const blocks = keysOf(read.blocks);
    if (inFlight === null || blocks === null) return null;
    return { from: read.from, inFlight, isAll: read.isAll === true, blocks };
  } catch {
    return null;
  }
}

function counts(value: unknown): Map<string, number> | null {
  const entries = entriesOf(value);
  if (entries === null) return null;
  const out = new Map<string, number>();
  for (const [address, count] of entries) {
    if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0 || count > 1e6) return null;
    out.set(address, count);
  }
  return out;
}

function keysOf(value: unknown): Map<string, Int32Array> | null {
  const entries = entriesOf(value);
  if (entries === null) return null;
  const out = new Map<string, Int32Array>();
  let total = 0;
  for (const [address, text] of entries) {
    if (typeof text !== 'string') return null;
    const bytes = Buffer.from(text, 'base64');
    const keys = new Int32Array(bytes.length >> 2);
    for (let at = 0; at < keys.length; at += 1) keys[at] = bytes.readInt32LE(at * 4);
    total += keys.length;
    if (total > peerLimits.blocksMax || keys.includes(0)) return null; // 0 marks a free place
    out.set(address, keys);
  }
  return out;
}

function entriesOf(value: unknown): [string, unknown][] | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const entries = Object.entries(value);
  return entries.length > peerLimits.addressesMax ? null : entries;
}
