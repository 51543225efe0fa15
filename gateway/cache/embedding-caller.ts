import type { Caller } from '../../domain/access/caller.ts';

/** Who asks for the embeddings of prompts: the gateway itself, in nobody's name and on nobody's account. */
export const embeddingCaller: Caller = Object.freeze({
  id: 'muster:semantic-cache',
  kind: 'internal',
  tenant: '',
  tier: 'high', // a request waits for it
  namespace: null,
  scopes: Object.freeze(['infer']),
  models: Object.freeze(['*']),
});
