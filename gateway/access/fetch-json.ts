import { Agent, request } from 'undici';
import type { AccessLimits } from './access-limits.ts';

/**
 * Fetches JSON from an address of the policy. No redirect is followed, whatever it points at; what is too large or too
 * slow is given up.
 */
export function jsonFetcher(limits: AccessLimits): (url: string) => Promise<unknown> {
  const agent = new Agent({ connect: { timeout: limits.jwksFetchMs }, connections: 2, pipelining: 1 });
  return async (url) => {
    const signal = AbortSignal.timeout(limits.jwksFetchMs);
    const headers = { accept: 'application/json' };
    const { statusCode, body } = await request(url, { headers, signal, dispatcher: agent });
    // An answer that is given up says so by an event, which nobody else listens to.
    body.on('error', () => undefined);
    if (statusCode !== 200) {
      body.destroy();
      throw new Error(`it answered ${statusCode}`);
    }
    const parts: Buffer[] = [];
    let bytes = 0;
    for await (const part of body) {
      bytes += (part as Buffer).length;
      if (bytes > limits.jwksBytesMax)
        throw new Error(`its answer is larger than ${limits.jwksBytesMax} bytes`);
      parts.push(part as Buffer);
    }
    return JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown;
  };
}
