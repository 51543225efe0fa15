import { crc32 } from './crc32.ts';

/**
 * The form of an API key: `mk_<id>_<secret><checksum>`. The prefix and the checksum (CRC-32 of all before it, base 62,
 * as GitHub's tokens have it) let secret scanners find a leaked key with next to no false alarm, and let a gateway say
 * "mistyped" without asking anyone. The id is public: it names the key in logs, lists and budgets.
 */
export const keyPrefix = 'mk_';

/** Bytes of chance that `makeKey` needs: the id's, then the secret's 256 bits and what base 62 needs to be even. */
export const keyBytes = { id: 10, secret: 43 * 2 } as const;

const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** No letter that reads like a digit (Crockford's base 32): ids are said aloud and typed. */
const idDigits = '0123456789abcdefghjkmnpqrstvwxyz';
const secretLength = 43; // 62^43 > 2^256
const checksumLength = 6; // 62^6 > 2^32

export const keyPattern = /^mk_([0-9a-z]{10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

export interface NewKey {
  readonly id: string;
  /** The whole key: the only time that it exists outside of its owner's hands. */
  readonly key: string;
}

/** @param chance `keyBytes.id + keyBytes.secret` bytes from a cryptographic source */
export function makeKey(chance: Uint8Array): NewKey {
  if (chance.length !== keyBytes.id + keyBytes.secret) throw new RangeError('a key needs its exact bytes');
  let id = '';
  for (const byte of chance.subarray(0, keyBytes.id)) id += idDigits[byte % 32] ?? '';
  let secret = '';
  for (let at = 0; at < secretLength; at += 1) {
    const high = chance[keyBytes.id + 2 * at] ?? 0;
    const low = chance[keyBytes.id + 2 * at + 1] ?? 0;
    // 16 bits for one of 62 digits: the odds of any two differ by less than a thousandth.
    secret += digits[(high * 256 + low) % 62] ?? '';
  }
  const body = `${keyPrefix}${id}_${secret}`;
  return { id, key: body + checksum(body) };
}

export type ParsedKey =
  | { readonly kind: 'key'; readonly id: string }
  /** It begins like a key of ours and is not one: mistyped or cut. */
  | { readonly kind: 'malformed' }
  /** A credential of another form; it may still be known by its hash. */
  | { readonly kind: 'foreign' };

/** What a credential is, by its form alone: whether it is known is for its hash to say. */
export function parseKey(credential: string): ParsedKey {
  if (!credential.startsWith(keyPrefix)) return { kind: 'foreign' };
  const parts = keyPattern.exec(credential);
  const body = credential.slice(0, -checksumLength);
  if (parts?.[1] === undefined || checksum(body) !== parts[3]) return { kind: 'malformed' };
  return { kind: 'key', id: parts[1] };
}

function checksum(body: string): string {
  let rest = crc32(body);
  let text = '';
  for (let at = 0; at < checksumLength; at += 1) {
    text = (digits[rest % 62] ?? '') + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}
