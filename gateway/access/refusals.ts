import type { Refusal } from '../errors.ts';

/** What a caller is told when it may not: never which of the secrets it came near to, and never its own words. */
const realm = 'Bearer realm="muster"';

export const noCredential: Refusal = {
  code: 'invalid_api_key',
  message:
    "This gateway asks for an API key: send it as 'Authorization: Bearer <key>' or as 'x-api-key: <key>'. An administrator makes one with `muster key create`.",
  challenge: realm,
};

export const unknownKey = invalid(
  'The API key is not known here: it was mistyped or revoked, or it has expired.',
);
export const brokenKey = invalid(
  'The API key is not whole: its checksum is wrong. Was it cut off or mistyped?',
);
/** Of what is asked later in somebody's name: the lines of a batch. */
export const goneCaller = invalid(
  'Who asked for this is not known here any more: the API key was revoked or has expired, or the certificate is trusted no longer.',
);
export const expiredKey = invalid('The API key has expired.');

export function badToken(why: string): Refusal {
  return invalid(`The token is refused. ${why}`);
}

function invalid(message: string): Refusal {
  return { code: 'invalid_api_key', message, challenge: `${realm}, error="invalid_token"` };
}

export function lacksScope(scope: string): Refusal {
  return {
    code: 'permission_denied',
    message: `This API key may not do that: it lacks the scope '${scope}'.`,
    challenge: `${realm}, error="insufficient_scope", scope="${scope}"`,
  };
}

/** The same for a model that the caller may not use and for one that does not exist. */
export function forbiddenModel(model: string): Refusal {
  const message = `You may not use the model '${model}', or there is none. GET /v1/models lists what you may use.`;
  return { code: 'permission_denied', param: 'model', message };
}

export const verificationBusy: Refusal = {
  code: 'gateway_busy',
  message: 'The gateway verifies as many tokens as it may: try again.',
};

export const policyChanges: Refusal = {
  code: 'gateway_busy',
  message: 'The policy of the gateway changed again and again while the token was verified: try again.',
};

export const issuerAway: Refusal = {
  code: 'issuer_unavailable',
  message:
    "The keys of the token's issuer cannot be fetched now, so the token cannot be verified: try again.",
};
