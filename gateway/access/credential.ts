import type { Exchange } from '../front/exchange.ts';

/**
 * Where a request says who asks: `x-api-key` (Anthropic's clients), `api-key` (Azure's), else `Authorization: Bearer`.
 * One credential decides, the first of these that is there: so a request may carry a key for the gateway in one header
 * and a token for the model's server in another.
 */
export type CredentialHeader = 'x-api-key' | 'api-key' | 'authorization';

export interface Credential {
  readonly header: CredentialHeader;
  /** The header's value as it came: what it is remembered by. */
  readonly raw: string;
}

/** @returns null when there is none */
export function credentialOf(headers: Exchange['headers']): Credential | null {
  const own = headers['x-api-key'] ?? headers['api-key'];
  if (own !== undefined) {
    return { header: headers['x-api-key'] === undefined ? 'api-key' : 'x-api-key', raw: one(own) };
  }
  const { authorization } = headers;
  return authorization === undefined ? null : { header: 'authorization', raw: one(authorization) };
}

/** The key or token itself; '' for what cannot be one: another scheme, blanks inside. */
export function secretOf({ header, raw }: Credential): string {
  const text = header === 'authorization' ? (/^Bearer +(\S+) *$/i.exec(raw)?.[1] ?? '') : raw.trim();
  return /^[\x21-\x7e]+$/.test(text) ? text : '';
}

/** Said twice, it is not known which is meant: none is. */
function one(value: string | readonly string[]): string {
  return typeof value === 'string' ? value : '';
}
