import type { Exchange } from '../front/exchange.ts';

/**
 * Where a request says who asks: `x-api-key` (Anthropic's clients), `api-key` (Azure's), else `Authorization: Bearer`.
 * One credential decides, the first of these that is there: so a request may carry a key for the gateway in one header
 * and a token for the model's server in another.
 */
export interface Credential {
  readonly header: (typeof order)[number];
  /** The header's value as it came: what it is remembered by. */
  readonly raw: string;
}

const order = ['x-api-key', 'api-key', 'authorization'] as const;

/** @returns null when there is none; an empty header is none */
export function credentialOf(headers: Exchange['headers']): Credential | null {
  for (const header of order) {
    const value = headers[header];
    // Said twice, it is not known which is meant: none is.
    if (value !== undefined && value !== '') return { header, raw: typeof value === 'string' ? value : '' };
  }
  return null;
}

/** The key or token itself; '' for what cannot be one: another scheme, blanks inside. */
export function secretOf({ header, raw }: Credential): string {
  const text = header === 'authorization' ? (/^Bearer +(\S+) *$/i.exec(raw)?.[1] ?? '') : raw.trim();
  return /^[\x21-\x7e]+$/.test(text) ? text : '';
}
