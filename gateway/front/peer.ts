import type { TLSSocket } from 'node:tls';

/** A client's certificate that was verified against the authority which the gateway was given. */
export interface PeerCertificate {
  /** Common name; '' without one. */
  readonly commonName: string;
  /** Subject alternative names as `DNS:a.example`, `URI:spiffe://…`, `email:…`, `IP Address:…`. */
  readonly names: readonly string[];
  /** SHA-256 in upper-case hex pairs with colons. */
  readonly fingerprint: string;
}

/** @returns null without TLS, without a certificate, or when it was not verified */
export function peerOf(socket: object): PeerCertificate | null {
  if (!isTls(socket) || !socket.authorized) return null;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  return peerCertificate(
    socket.getPeerCertificate().subject,
    certificate.subjectAltName,
    certificate.fingerprint256,
  );
}

/**
 * @param subject as node gives it
 * @param altNames the text that node makes of subject alternative names
 */
export function peerCertificate(
  subject: object,
  altNames: string | undefined,
  fingerprint: string,
): PeerCertificate {
  const { CN } = subject as { CN?: string | string[] };
  return {
    // Two common names: neither can be trusted to be the one that was meant.
    commonName: typeof CN === 'string' ? CN : '',
    names: splitNames(altNames ?? ''),
    fingerprint,
  };
}

/** Whether an address of a peer is this machine's own. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(127\.|::1$|::ffff:127\.)/.test(address);
}

function isTls(socket: object): socket is TLSSocket {
  return 'encrypted' in socket && socket.encrypted === true;
}

/** Node puts names that hold commas or quotes into JSON strings, so that one name cannot look like two. */
function splitNames(text: string): string[] {
  const found = text.match(/(?:[^",]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return found.flatMap((each) => {
    const name = each.trim();
    const quote = name.indexOf('"');
    if (quote < 0) return [name];
    try {
      return [name.slice(0, quote) + String(JSON.parse(name.slice(quote)))];
    } catch {
      return [];
    }
  });
}
