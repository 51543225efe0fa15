import { keyPrefix } from '../../domain/access/key.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import { single } from '../front/headers.ts';
import type { Passage } from '../passage.ts';
import { credentialOf } from './credential.ts';

/**
 * The Authorization header for a server that asks for it, null for any other. A person's token may go to a service that
 * wants to know the person; a key of this gateway never leaves it, whatever a service asks: it would open other models.
 */
export function passedAuthorization(passage: Passage, service: RoutedService): string | null {
  if (service.route.passAuthorization !== true) return null;
  const { exchange, caller } = passage;
  const authorization = single(exchange.headers['authorization']);
  if (authorization === null || /^Bearer +/i.exec(authorization)?.[0] === undefined) return authorization;
  if (authorization.replace(/^Bearer +/i, '').startsWith(keyPrefix)) return null;
  const isOurKey = caller?.kind === 'key' && credentialOf(exchange.headers)?.header === 'authorization';
  return isOurKey ? null : authorization;
}
