/**
 * What a client says of the cache: `cache-control` as in RFC 9111 section 5.2.1, as far as it makes sense for answers
 * without validators, and `x-muster-cache: skip` for clients whose libraries set cache-control themselves.
 */
export interface Directives {
  /** Neither look nor keep. */
  readonly isSkipped: boolean;
  /** Ask a server, keep what it says. */
  readonly isRefresh: boolean;
  /** Answers older than this count as absent, seconds; Infinity: any age. */
  readonly maxAgeS: number;
  /** Answer from the cache or not at all. */
  readonly isOnlyIfCached: boolean;
}

const none: Directives = Object.freeze({
  isSkipped: false,
  isRefresh: false,
  maxAgeS: Infinity,
  isOnlyIfCached: false,
});

type Header = string | string[] | undefined;

export function readDirectives(cacheControl: Header, musterCache: Header): Directives {
  if (cacheControl === undefined && musterCache === undefined) return none;
  let isSkipped = textOf(musterCache).trim().toLowerCase() === 'skip';
  let isRefresh = false;
  let maxAgeS = Infinity;
  let isOnlyIfCached = false;
  for (const part of textOf(cacheControl).toLowerCase().split(',')) {
    const [name = '', value = ''] = part.split('=', 2).map((side) => side.trim());
    if (name === 'no-store') isSkipped = true;
    else if (name === 'no-cache') isRefresh = true;
    else if (name === 'only-if-cached') isOnlyIfCached = true;
    else if (name === 'max-age') maxAgeS = Math.min(maxAgeS, seconds(value));
  }
  return { isSkipped, isRefresh: isRefresh || maxAgeS === 0, maxAgeS, isOnlyIfCached };
}

function textOf(header: Header): string {
  return typeof header === 'string' ? header : (header?.join(',') ?? '');
}

/** A number that cannot be read asks for the freshest (RFC 9111 section 4.2.1). */
function seconds(value: string): number {
  const bare = value.replace(/^"(.*)"$/, '$1');
  return /^\d{1,10}$/.test(bare) ? Number(bare) : 0;
}
