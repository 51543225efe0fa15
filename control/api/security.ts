import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { MusterError } from '../../domain/errors.ts';

export interface Security {
  /** Bearer token of people and the CLI. */
  readonly token: string;
  /** Bearer token of Muster's own processes. */
  readonly internalToken: string;
  /** Host names, without port, that this API may be called by; the loopback names always are. */
  readonly hosts: readonly string[];
}

/** Paths that tell nothing of the installation, for probes and scrapers. */
const open = new Set(['/healthz', '/internal/health', '/metrics']);
const loopback = ['127.0.0.1', 'localhost', '[::1]'];

/**
 * Makes the check that every request passes first. Host and Origin stop a web page in the user's browser from reaching
 * the API under a name of its own (DNS rebinding) or from another origin; the token stops other users of the machine.
 */
export function securityCheck(security: Security): (request: FastifyRequest) => void {
  const hosts = new Set([...loopback, ...security.hosts.map((host) => host.toLowerCase())]);
  const isToken = equalTo(security.token);
  const isInternalToken = equalTo(security.internalToken);
  return (request) => {
    checkHost(request, hosts);
    checkOrigin(request);
    // The route that matched, not the text of the URL: that may be spelt in many ways (%69nternal).
    const route = request.routeOptions.url ?? '';
    if (open.has(route)) return;
    const given = bearer(request);
    const internal = route.startsWith('/internal/');
    if (given === null || !(internal ? isInternalToken(given) : isToken(given))) {
      throw new MusterError(
        'unauthorized',
        internal
          ? 'This path is for processes of Muster; it needs the bearer token of the file internal-token in the data folder.'
          : 'Send the bearer token of the file token in the data folder: Authorization: Bearer <token>.',
      );
    }
  };
}

function checkHost(request: FastifyRequest, hosts: ReadonlySet<string>): void {
  const name = (request.headers.host ?? '').toLowerCase().replace(/:\d+$/, '');
  if (hosts.has(name)) return;
  throw new MusterError(
    'forbidden',
    'The Host header is not one of this control API. Call it by 127.0.0.1 or localhost, or start it with MUSTER_HOST set to the name you use.',
  );
}

function checkOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  if (origin === undefined || origin === `http://${host ?? ''}` || origin === `https://${host ?? ''}`) return;
  throw new MusterError('forbidden', 'Requests from web pages of another origin are not answered.');
}

function bearer(request: FastifyRequest): string | null {
  const match = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '');
  return match?.[1] ?? null;
}

/** Compares in constant time; digests make the lengths equal. */
function equalTo(expected: string): (given: string) => boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  const wanted = digest(expected);
  return (given) => timingSafeEqual(digest(given), wanted);
}
