import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { fileStamp } from '../../file-stamp.ts';
import type { UpstreamTls } from './socket-upstream.ts';

/**
 * TLS towards servers, from files that the process's own configuration names; the route table and requests have no
 * say in it. Files are looked at again from time to time, so that certificates are renewed without a restart; new
 * ones that cannot be used are reported and the old ones stay. Servers are always verified.
 */
export interface UpstreamTlsOptions {
  /** Authorities that sign servers' certificates; absent: the system's. */
  readonly caPath?: string;
  /** Our own certificate and key, for servers that ask for one. */
  readonly certPath?: string;
  readonly keyPath?: string;
  /** The name in the servers' certificates, where it is not the address's host. */
  readonly serverName?: string;
}

/**
 * @returns what each new connection is made with
 * @throws Error when a file cannot be read or used
 */
export function upstreamTls(
  options: UpstreamTlsOptions,
  nowMs: () => number,
  onRefused: (error: unknown) => void,
  lookMs = 2_000,
): () => UpstreamTls {
  if ((options.certPath === undefined) !== (options.keyPath === undefined))
    throw new Error('a certificate for servers needs its key, and a key its certificate: set both paths');
  let seen = look(options);
  let current = load(options);
  let lookedMs = nowMs();
  return () => {
    if (nowMs() - lookedMs < lookMs) return current;
    lookedMs = nowMs();
    const now = look(options);
    if (now === seen) return current;
    seen = now; // also when it is of no use: said once
    try {
      current = load(options);
    } catch (error) {
      onRefused(error);
    }
    return current;
  };
}

function load({ caPath, certPath, keyPath, serverName }: UpstreamTlsOptions): UpstreamTls {
  const read = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path));
  const ca = read(caPath);
  if (ca !== undefined) new X509Certificate(ca); // node takes a file without any certificate for an empty list
  const secureContext = createSecureContext({
    ca,
    cert: read(certPath),
    key: read(keyPath),
    minVersion: 'TLSv1.2',
  });
  return { secureContext, ...(serverName === undefined ? {} : { serverName }) };
}

function look({ caPath, certPath, keyPath }: UpstreamTlsOptions): string {
  return fileStamp([caPath, certPath, keyPath].filter((path) => path !== undefined));
}
