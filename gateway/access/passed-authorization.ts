import type { Caller } from '../../domain/access/caller.ts';
import { keyPrefix } from '../../domain/access/key.ts';
import type { RoutedService } from '../../domain/routing/routes.ts';
import type { Exchange } from '../front/exchange.ts';
import { single } from '../front/headers.ts';
import { credentialOf } from './credential.ts';

/**
 * The Authorization header for a server that asks for it, null for any other. A person's token may go to a service that
 * wants to know the person; a key of this gateway never leaves it, whatever a service asks: it would open other models.
 */
export function passedAuthorization(
  { headers }: Pick<Exchange, 'headers'>,
  caller: Caller | null,
  { route }: RoutedService,
): string | null {
  if (route.passAuthorization !== true) return null;
  const authorization = single(headers['authorization']);
  const bearer = /^Bearer +(.*)$/i.exec(authorization ?? '')?.[1];
  if (bearer === undefined) return authorization;
  const isOurKey = caller?.kind === 'key' && credentialOf(headers)?.header === 'authorization';
  return isOurKey || bearer.startsWith(keyPrefix) ? null : authorization;
}
