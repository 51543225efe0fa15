import { hash } from 'node:crypto';
import type { Kept } from '../../domain/cache/deliver.ts';

/** A kept answer: its bytes as the server sent them, and what must be known to give it again. */
export interface Entry extends Kept {
  readonly contentType: string;
  /** Of a V2 answer with binary tensors: where its JSON ends; null for others. */
  readonly jsonLength: string | null;
  readonly body: Buffer;
  /** Date.now() of the gateway that kept it. */
  readonly storedAtMs: number;
  readonly expiresAtMs: number;
  /** From its time to here it is given only where no server gives a new one. */
  readonly staleUntilMs: number;
  /** What the server said that it took; 0 where it did not. */
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** Memory of an entry beside its body, about: objects, key, list. */
const overheadBytes = 512;

export function sizeOf(entry: Entry): number {
  return entry.body.length + entry.contentType.length + overheadBytes;
}

/** Where an answer is found: the version of the model that gave it, and the request that asked. */
export interface EntryKey {
  /** Whole key of the local store. */
  readonly local: string;
  readonly version: VersionTag;
  /** SHA-256 of the request's text, one character a byte. */
  readonly hash: string;
}

/** One model version: a revision of a service at a generation. */
export interface VersionTag {
  readonly service: string;
  /** 16 hexadecimal digits, equal in all gateways. */
  readonly serviceId: string;
  readonly id: string;
  readonly revision: string;
  readonly percent: number;
}

/**
 * Where a refusal lies in the local store, apart from answers: it may be due to what their key leaves out.
 *
 * @param unkeyed what that is
 */
export function refusalKey({ local }: EntryKey, unkeyed: string): string {
  return local + hash('sha256', unkeyed, 'binary');
}

export function entryKey(version: VersionTag, requestHash: string): EntryKey {
  return { local: version.id + requestHash, version, hash: requestHash };
}
