import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const chat = { model: 'm', messages: [{ role: 'user', content: 'hi' }] };
let gateway: TestGateway;
let only: Backend | null = null;
beforeEach(async () => {
  gateway = await startTestGateway({ clientStallMs: 2_000 });
});
afterEach(async () => {
  await gateway.close();
  await only?.close();
});
async function backend(respond: Respond): Promise<Backend> {
  only = await startBackend(respond);
  gateway.use([service('m', { ready: [only.address] })]);
  return only;
}

test('slow readers at once each get their own bytes, in order', async () => {
  const size = 6 * 1024 * 1024;
  /** No two places of two answers are alike. */
  const bytesOf = (seed: number) => {
    const words = new Uint32Array(size / 4);
    for (let at = 0; at < words.length; at += 1) words[at] = seed * 0x1000000 + at;
    return Buffer.from(words.buffer);
  };
  await backend((seen, response) => {
    response.end(bytesOf(Number((JSON.parse(seen.body.toString()) as { user: string }).user)));
  });
  const read = async (seed: number) => {
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ ...chat, user: String(seed) }),
    });
    const parts: Uint8Array[] = [];
    for await (const part of answer.body!) {
      parts.push(part as Uint8Array);
      if (parts.length % 8 === 0) await new Promise((resolve) => setTimeout(resolve, seed));
    }
    return Buffer.concat(parts).equals(bytesOf(seed));
  };
  expect(await Promise.all([1, 2, 3, 4].map(read))).toEqual([true, true, true, true]);
}, 60_000);

test('a client that takes nothing for too long is dropped, and its server freed', async () => {
  let isFreed = false;
  await backend((_seen, response) => {
    response.on('close', () => (isFreed = true));
    const more = () => {
      while (response.write(Buffer.alloc(65_536))) if (response.destroyed) return;
      response.once('drain', more);
    };
    more();
  });
  const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify(chat),
  });
  expect(answer.status).toBe(200);
  await until(() => isFreed);
  await until(() => gateway.endpoints.bind(only!.address).inFlight === 0);
  const scrape = await get(`${gateway.url}/metrics`);
  expect(scrape.text).not.toMatch(/^muster_gateway_upstream_errors_total\{/m); // the server did nothing wrong
  await answer.body?.cancel().catch(() => undefined);
}, 30_000);
