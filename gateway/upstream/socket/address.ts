import { isIP } from 'node:net';

/** Where an endpoint is, read once from the route table's address: nothing of a request can change it. */
export interface EndpointAddress {
  readonly isTls: boolean;
  /** Without the brackets of an IPv6 literal. */
  readonly host: string;
  readonly port: number;
  /** For the `host` header: with brackets, and with the port where it is not the scheme's own. */
  readonly authority: string;
  /** For TLS: the name that the server's certificate must bear; '' for a literal address, which is checked as such. */
  readonly serverName: string;
}

/** @throws Error unless the address is `http(s)://host[:port]` and nothing more */
export function parseAddress(address: string): EndpointAddress {
  const url = new URL(address);
  const isTls = url.protocol === 'https:';
  const isBare =
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  if ((!isTls && url.protocol !== 'http:') || !isBare)
    throw new Error(`an endpoint's address is http(s)://host:port, not '${address}'`);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port);
  return { isTls, host, port, authority: url.host, serverName: isIP(host) === 0 ? host : '' };
}
