import { describe, expect, test } from '@jest/globals';
import type { Socket } from 'node:net';
import type { ServiceResilience } from '../../../domain/resilience/resilience-policy.schema.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { Forwarding } from '../../fixtures/resilience/forwarding.ts';
import { isWholeRequest } from '../../fixtures/resilience/stand-in.ts';

const forwarding = new Forwarding();
const ok = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
const ask = (input: string) => postJson(`${forwarding.gateway.url}/v1/embeddings`, { model: 'm', input });

describe('a request that kills its server', () => {
  /** Servers that die of it some time after it came, each with its own time. */
  const start = async (policy: ServiceResilience, dyingMs: readonly number[]) => {
    let killed = 0;
    const dies = (socket: Socket) => {
      const ms = dyingMs[killed] ?? dyingMs.at(-1);
      killed += 1;
      setTimeout(() => socket.resetAndDestroy(), ms);
    };
    const servers = await Promise.all(
      Array.from({ length: 5 }, () =>
        forwarding.raw((socket, received) => {
          const request = received.subarray(received.lastIndexOf('POST '));
          if (!isWholeRequest(request)) return;
          if (request.includes('deadly')) dies(socket);
          else socket.write(ok);
        }),
      ),
    );
    const ready = servers.map(({ address }) => address);
    forwarding.use({ m: { ready } }, { all: policy });
    return { ready, killed: () => killed };
  };
  const patient = { tries: 5, windowMs: 60_000 };

  test('after it worked on it for a while kills two, also on connections that were used before', async () => {
    const { ready, killed } = await start({ retry: patient }, [1_200]);
    await Promise.all(Array.from({ length: 40 }, () => ask('fine')));
    expect((await ask('deadly')).status).toBe(502);
    expect(killed()).toBe(2);
    const { endpoints } = forwarding.gateway;
    const failures = ready.map((address) => endpoints.bind(address).health.bad);
    expect(failures.reduce((sum, each) => sum + each)).toBe(2);
  });

  test.each([
    ['while both are at it', [200, 200]],
    ['one after the other', [200, 400]],
    ['the second of them first', [400, 100]],
    ['the first before a second one was asked', [20, 200]],
  ])('kills two where slow servers are overtaken: %s', async (_how, dyingMs) => {
    const hedge = { after: 60, budgetPercent: 100 } as const;
    const { killed } = await start({ hedge, retry: patient }, dyingMs);
    expect((await ask('deadly')).status).toBe(502);
    expect(killed()).toBe(2);
  });
});
