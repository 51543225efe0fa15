import type { HeaderFields } from '../header-fields.ts';
import type { ToldHead } from '../told-head.ts';
import { CommonHeaders } from '../upstream/upstream.ts';
import type { Exchange } from './exchange.ts';

/**
 * Which headers travel. Hop-by-hop headers (RFC 9110 section 7.6.1, and those that `connection` names) belong to
 * one connection; credentials are for this gateway; `host` and `content-length` are made anew for the server; `expect` was answered already;
 * `x-muster-*` is between client and gateway.
 */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];
/** They prove to this gateway who asks; a model's server is not the one to know them. */
const credentials = ['authorization', 'x-api-key', 'api-key'];
const notUpstream = new Set([
  ...hopByHop,
  ...credentials,
  'host',
  'content-length',
  'expect',
  'x-request-id',
]);
const notWithStreams = new Set([...notUpstream, 'accept-encoding']);
const notDownstream = new Set([...hopByHop, 'x-request-id']);

/** What every server is sent of a request's headers. */
export function commonHeaders({ memo, headers }: Exchange): CommonHeaders {
  return (memo.forwarded ??= new CommonHeaders(copy(headers, notUpstream, true)));
}

/** For streams that the gateway reads: compressed, they could only be handed on as they are. */
export function plainHeaders({ memo, headers }: Exchange): CommonHeaders {
  return (memo.forwardedPlain ??= new CommonHeaders(copy(headers, notWithStreams, true)));
}

export function upstreamHeaders(exchange: Exchange, requestId: string): string[] {
  return [...commonHeaders(exchange).list, 'x-request-id', requestId];
}

/** What clients are told of a server's head. */
export function toldHead(headers: HeaderFields): ToldHead {
  return { headers, list: copy(headers, notDownstream, false), written: null, isFlat: false };
}

function copy(headers: HeaderFields, dropped: ReadonlySet<string>, isRequest: boolean): string[] {
  const out: string[] = [];
  const named = namedByConnection(headers['connection']);
  for (const name in headers) {
    if (dropped.has(name) || named?.has(name) === true) continue;
    if (isRequest && name.startsWith('x-muster-')) continue;
    const value = headers[name];
    if (typeof value === 'string') out.push(name, value);
    else if (value !== undefined) for (const each of value) out.push(name, each);
  }
  return out;
}

function namedByConnection(value: string | string[] | undefined): Set<string> | null {
  if (value === undefined || value === 'keep-alive' || value === 'close') return null;
  const tokens = (typeof value === 'string' ? value : value.join(',')).split(',');
  return new Set(tokens.map((token) => token.trim().toLowerCase()));
}

const requestIdPattern = /^[\x21-\x7e]{1,128}$/;

/** The caller's x-request-id when it is a plain one, else null. */
export function givenRequestId(exchange: Exchange): string | null {
  const given = exchange.headers['x-request-id'];
  return typeof given === 'string' && requestIdPattern.test(given) ? given : null;
}

/** A header's single value; null when absent, empty or repeated. */
export function single(value: string | string[] | undefined): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}
