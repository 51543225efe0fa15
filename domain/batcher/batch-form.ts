/** How requests of one protocol are joined into one and its answer is split: v1-batch.ts, v2-batch.ts. */
export interface WireMessage {
  readonly body: Uint8Array;
  /** Bytes of the JSON head where raw tensors follow it, else null. */
  readonly headLength: number | null;
}

export interface Joinable {
  /** Requests with equal keys may go in one batch. */
  readonly key: string;
  /** Instances, or the first dimension of its tensors. */
  readonly rows: number;
}

export interface BatchForm<J extends Joinable = Joinable> {
  /** @returns null when the request cannot be joined with others; its server then says what is wrong with it, if anything */
  read(message: WireMessage): J | null;
  join(requests: readonly J[]): WireMessage;
  /**
   * @param newId for answers whose server made an id of its own for the batch
   * @returns one answer a request, in order; null when it does not fall apart as the requests came together
   */
  split(answer: WireMessage, requests: readonly J[], newId: () => string): WireMessage[] | null;
}

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();

/** The text of a JSON body or head; null when it is none. */
export function jsonTextOf(bytes: Uint8Array): string | null {
  try {
    const text = decoder.decode(bytes);
    JSON.parse(text);
    return text;
  } catch {
    return null;
  }
}

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}
