import type { Metadata, ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { peerCertificate } from '../front/peer.ts';
import type { PeerCertificate } from '../front/peer.ts';

/** Who makes a call, as far as is known without its message: what its headers and its certificate would be over HTTP. */
export type CallHead = Pick<ServerInterceptingCallInterface, 'getHost' | 'getAuthContext'>;

/** gRPC's own and HTTP/2's are no headers of a request; what is binary has no place in one. */
const notAHeader =
  /^(grpc-|:|te$|content-|host$|connection$|transfer-encoding$|inference-header-content-length$)|-bin$/;

export function requestHeaders(call: CallHead, metadata: Metadata): Record<string, string> {
  const headers: Record<string, string> = { host: call.getHost() };
  for (const name of Object.keys(metadata.getMap())) {
    if (!notAHeader.test(name)) headers[name] = metadata.get(name).join(', ');
  }
  return headers;
}

/** Certificates are asked for only where they are required, and so verified (server.ts). */
export function peerOfCall(call: CallHead): PeerCertificate | null {
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined || Object.keys(certificate).length === 0) return null;
  return peerCertificate(certificate.subject, certificate.subjectaltname, certificate.fingerprint256);
}
