import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { request as httpRequest } from 'node:http';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chunks, completion, json, stream } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { startRedis, withRedis } from '../../fixtures/redis.ts';
import type { RedisServer } from '../../fixtures/redis.ts';

/** Numbers that look like chance and are the same each time. */
function chances(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

interface Answer {
  readonly status: number;
  readonly state: string;
  readonly text: string;
}

describe('a storm', () => {
  const chance = chances(7);
  let redis: RedisServer;
  let gateways: CachedGateway[];
  let chats: Backend;
  let embedder: Backend;
  beforeEach(async () => {
    redis = await startRedis();
    gateways = [await startCachedGateway(redis.url), await startCachedGateway(redis.url)];
    chats = await startBackend((seen, response) => {
      setTimeout(moodyServer, chance() * 40, seen, response);
    });
    embedder = await startBackend((seen, response) => {
      const { input } = JSON.parse(seen.body.toString()) as { input: string };
      if (chance() < 0.1) response.destroy();
      else json(response, 200, { data: [{ embedding: [input.charCodeAt(1), input.charCodeAt(6), 1] }] });
    });
  });
  afterEach(async () => {
    await Promise.all(gateways.map((gateway) => gateway.close()));
    await Promise.all([chats.close(), embedder.close(), redis.stop()]);
  });

  /** Answers the question it is asked, when it does not fail in one of the ways that servers fail. */
  const moodyServer: Respond = (seen, response) => {
    const body = JSON.parse(seen.body.toString()) as {
      messages: { content: string }[];
      stream?: boolean;
      stream_options?: unknown;
    };
    const text = `answer to ${body.messages[0]?.content ?? ''}`;
    const events = chunks(text, body.stream_options !== undefined);
    const mood = chance();
    if (mood < 0.1) response.destroy();
    else if (mood < 0.2) json(response, 500, { error: { message: 'x' } });
    else if (mood < 0.25) json(response, 400, { error: { message: 'x' } });
    else if (body.stream !== true) json(response, 200, completion(text));
    else if (mood > 0.35) stream(response, events);
    else {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const event of events.slice(0, 2)) response.write(event);
      setTimeout(() => response.destroy(), 5);
    }
  };

  const use = (revision: string) => {
    const endpoints = [{ address: chats.address, revision, ready: true }];
    const services = [
      service('tiny', { targets: [{ revision, percent: 100, endpoints }] }),
      service('minilm', { ready: [embedder.address] }),
    ];
    const semantic = { enabled: true, model: 'minilm', threshold: 0.99999 };
    const tiny = { enabled: true, ttlSeconds: 0.3, staleSeconds: 0.3, negativeTtlSeconds: 0.1, semantic };
    const cache = {
      services: { 'default/tiny': tiny },
      singleFlight: { waitMs: 300 },
      shared: { lockMs: 100, waitMs: 20, restMs: 200 },
    };
    for (const gateway of gateways) gateway.use(services, cache);
  };

  /** @returns null when this client left, or was cut off */
  const send = (at: number, body: unknown): Promise<Answer | null> =>
    new Promise((resolve) => {
      const headers = chance() < 0.05 ? { 'cache-control': 'no-cache' } : {};
      const url = `${gateways[at % 2]?.url ?? ''}/v1/chat/completions`;
      const request = httpRequest(url, { method: 'POST', headers }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => {
          const state = String(
            response.headers['x-muster-cache-level'] ?? response.headers['x-muster-cache'],
          );
          resolve({ status: response.statusCode ?? 0, state, text });
        });
        response.on('close', () => {
          resolve(null);
        });
      });
      request.on('error', () => {
        resolve(null);
      });
      request.end(JSON.stringify(body));
      if (chance() < 0.2) setTimeout(() => request.destroy(), chance() * 50);
    });

  const said = (text: string): string => {
    if (!text.startsWith('{'))
      return [...text.matchAll(/"content":"([^"]*)"/g)].map((part) => part[1]).join('');
    const { choices } = JSON.parse(text) as { choices: { message: { content: string } }[] };
    return choices[0]?.message.content ?? '';
  };

  withRedis(
    'of clients that leave, servers that fail, and a Redis that comes and goes mixes up no answers and leaves nothing behind',
    async () => {
      use('r1');
      const states = new Set<string>();
      const events: Record<number, () => unknown> = {
        300: () => redis.kill(),
        500: () => redis.restart(),
        700: () => {
          redis.pause();
        },
        900: () => {
          redis.resume();
        },
        1_100: () => {
          use('r2');
        },
        1_300: () =>
          fetch(`${gateways[0]?.url ?? ''}/v1/cache/purge`, { method: 'POST', body: '{"model":"tiny"}' }),
      };
      let sent = 0;
      const client = async (): Promise<void> => {
        while (sent < 1_600) {
          const at = (sent += 1);
          await events[at]?.();
          const question = `q${at % 9} of ${at % 3}`;
          const usage = chance() < 0.5 ? { stream_options: { include_usage: true } } : {};
          const answer = await send(at, ask(question, chance() < 0.5 ? { stream: true, ...usage } : {}));
          if (answer === null) continue;
          states.add(answer.state);
          expect([200, 400, 500, 502, 503]).toContain(answer.status);
          const isWhole = answer.status === 200 && !answer.text.includes('"error"');
          if (isWhole && answer.state !== 'semantic') expect(said(answer.text)).toBe(`answer to ${question}`);
        }
      };
      await Promise.all(Array.from({ length: 24 }, client));
      for (const state of ['miss', 'local', 'flight', 'refresh']) expect([...states]).toContain(state);
      for (const gateway of gateways) {
        await until(async () => (await gateway.metric('muster_gateway_in_flight')) === 1); // this question itself
        expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
        expect(await gateway.metric('muster_gateway_cache_waiting')).toBe(0);
        expect(gateway.logs.filter((line) => line.includes('"level":50'))).toEqual([]);
      }
    },
    60_000,
  );
});
