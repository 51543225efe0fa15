import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { tiers } from '../../../domain/qos/tier.ts';
import type { Tier } from '../../../domain/qos/tier.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { get, postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';

const keyOf = (tier: Tier) => `a-test-key-for-${tier}`;
const access = {
  keys: tiers.map((tier) => ({
    id: tier,
    sha256: createHash('sha256').update(keyOf(tier)).digest('hex'),
    tenant: tier,
    tier,
  })),
};

/** How many of this gateway's requests wait, by its own metrics. */
async function metric(gateway: TestGateway, name: string): Promise<number> {
  const { text } = await get(`${gateway.url}/metrics`);
  const lines = text.split('\n').filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

describe('the queue over real sockets', () => {
  let gateway: TestGateway;
  const closers: (() => Promise<void>)[] = [];
  const use = (address: string, qos: unknown) => {
    gateway.store.apply({ ...table([service('slow', { ready: [address] })]), policy: { access, qos } }, -1);
  };
  const ask = (tier: Tier = 'standard', body: object = {}) =>
    postJson(
      `${gateway.url}/v1/completions`,
      { model: 'slow', ...body },
      { authorization: `Bearer ${keyOf(tier)}` },
    );
  /** A server that answers when the test says so. */
  const holding = async () => {
    const held: ServerResponse[] = [];
    const backend = await startBackend((_seen, response) => held.push(response));
    closers.push(backend.close);
    return { backend, held, address: backend.address };
  };

  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => {
    await gateway.close();
    for (const close of closers.splice(0)) await close();
  });

  test('a slow server that four tiers wait for serves 80, 15, 4 and 1 of each hundred, and all in the end', async () => {
    const order: Tier[] = [];
    const held: ServerResponse[] = [];
    let isOpen = false;
    let now = 0;
    let most = 0;
    const backend = await startBackend((seen, response) => {
      order.push((JSON.parse(seen.body.toString()) as { prompt: Tier }).prompt);
      most = Math.max(most, (now += 1));
      const end = () => {
        now -= 1;
        response.end('{}');
      };
      if (isOpen) setTimeout(end, 2);
      else held.push(response.on('finish', () => (now -= 1)));
    });
    closers.push(backend.close);
    use(backend.address, { concurrency: { perEndpoint: 2 } });
    const asked = tiers.flatMap((tier) => Array.from({ length: 110 }, () => ask(tier, { prompt: tier })));
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 438);
    isOpen = true;
    for (const response of held) response.end('{}');
    for (const { status } of await Promise.all(asked)) expect(status).toBe(200);
    const hundred = order.slice(2, 102);
    const share = (tier: Tier) => hundred.filter((one) => one === tier).length;
    // Within one request of each: the two that did not wait, and where the hundred begins.
    expect(Math.abs(share('critical') - 80)).toBeLessThanOrEqual(2);
    expect(Math.abs(share('high') - 15)).toBeLessThanOrEqual(1);
    expect(Math.abs(share('standard') - 4)).toBeLessThanOrEqual(1);
    expect(share('best-effort')).toBe(1);
    expect(order).toHaveLength(440);
    expect(most).toBe(2);
  }, 60_000);

  test('no endpoint gets more at once than it may, also while a slow one and a fast one share the work', async () => {
    const most = [0, 0];
    const now = [0, 0];
    const servers = await Promise.all(
      [1, 9].map((ms, at) =>
        startBackend((_seen, response) => {
          now[at] = (now[at] ?? 0) + 1;
          most[at] = Math.max(most[at] ?? 0, now[at] ?? 0);
          setTimeout(() => {
            now[at] = (now[at] ?? 0) - 1;
            response.end('{}');
          }, ms);
        }),
      ),
    );
    closers.push(...servers.map(({ close }) => close));
    const one = service('slow', { ready: servers.map(({ address }) => address) });
    gateway.store.apply(
      { ...table([one]), policy: { access, qos: { concurrency: { perEndpoint: 2 } } } },
      -1,
    );
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask('high')));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(most).toEqual([2, 2]);
  });

  describe('with a server that is well and one that is not', () => {
    const sick = async () => {
      const backend = await startBackend((_seen, response) => response.writeHead(503).end('{}'));
      closers.push(backend.close);
      return backend;
    };
    const useBoth = (addresses: string[], outlier: object) => {
      const all = { outlier: { baseMs: 60_000, ...outlier }, activeHealth: { mode: 'off' } };
      const policy = { access, qos: { concurrency: { perEndpoint: 1 } }, resilience: { all } };
      gateway.store.apply({ ...table([service('slow', { ready: addresses })]), policy }, -1);
    };

    test('those who wait are all served by the one when the other is ejected', async () => {
      const well = await startBackend((_seen, response) => setTimeout(() => response.end('{}'), 5));
      closers.push(well.close);
      const ill = await sick();
      useBoth([well.address, ill.address], { consecutiveFailures: 2 });
      await until(async () => {
        await ask('high');
        return (await metric(gateway, 'muster_gateway_resilience_ejected_endpoints')) === 1;
      });
      const before = ill.seen.length;
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask('high')));
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      expect(ill.seen).toHaveLength(before);
    });

    test('who asked the other goes on to the one, though its places are taken', async () => {
      const { held, address } = await holding();
      const ill = await sick();
      useBoth([address, ill.address], { consecutiveFailures: 0, failurePercent: 0 });
      const first = ask('high');
      await until(() => held.length === 1);
      const before = ill.seen.length;
      const second = ask('high');
      await until(() => ill.seen.length > before);
      let isOver = false;
      void second.then(() => (isOver = true));
      await until(() => held.length === 2 || isOver);
      for (const response of held) response.end('{}');
      expect([(await first).status, (await second).status]).toEqual([200, 200]);
    });

    test('no second server is asked for a slow one where all places are taken', async () => {
      const [one, other] = [await holding(), await holding()];
      const both = service('slow', { ready: [one.address, other.address] });
      const use = (version: number, resilience: object) => {
        const policy = { access, qos: { concurrency: { perEndpoint: 1 } }, resilience };
        gateway.store.apply({ ...table([both], version), policy }, -1);
      };
      use(1, {});
      const first = ask('high');
      await until(() => one.held.length + other.held.length === 1);
      use(2, { all: { hedge: { after: 10, budgetPercent: 100 } } });
      const asked = [first, ask('high')];
      await until(() => one.held.length + other.held.length === 2);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect([one.held.length, other.held.length]).toEqual([1, 1]);
      for (const response of [...one.held, ...other.held]) response.end('{}');
      for (const { status } of await Promise.all(asked)) expect(status).toBe(200);
    });
  });

  test('an answer says how long its request waited', async () => {
    const { held, address } = await holding();
    use(address, { concurrency: { perService: 1 } });
    const first = ask();
    await until(() => held.length === 1);
    const second = ask();
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 1);
    held[0]?.end('{}');
    expect((await first).headers.get('x-muster-queue-ms')).toBeNull();
    await until(() => held.length === 2);
    held[1]?.end('{}');
    expect((await second).headers.get('x-muster-queue-ms')).toMatch(/^\d+$/);
  });

  test('a full queue answers 503, a tenant with its share 429, a wait without end 503: with reason and Retry-After', async () => {
    const { held, address } = await holding();
    const queue = { requestsMax: 2, tenantRequestsMax: 1, ttlMs: { standard: 300 } };
    use(address, { concurrency: { perService: 1 }, queue });
    const running = ask('critical');
    await until(() => held.length === 1);
    const late = ask('standard');
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 1);
    const greedy = await ask('standard');
    expect(greedy).toMatchObject({ status: 429, body: { error: { code: 'tenant_queue_full' } } });
    const displaced = ask('best-effort');
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 2);
    const urgent = ask('high');
    expect(await displaced).toMatchObject({ status: 503, body: { error: { code: 'queue_displaced' } } });
    const refused = await ask('best-effort');
    expect(refused).toMatchObject({ status: 503, body: { error: { code: 'queue_full' } } });
    const timedOut = await late;
    expect(timedOut).toMatchObject({ status: 503, body: { error: { code: 'queue_timeout' } } });
    for (const answer of [greedy, refused, timedOut, await displaced]) {
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(answer.headers.get('x-muster-refused')).toBe(
        (answer.body as { error: { code: string } }).error.code,
      );
    }
    held[0]?.end('{}');
    await until(() => held.length === 2);
    held[1]?.end('{}');
    expect([(await running).status, (await urgent).status]).toEqual([200, 200]);
    expect(await metric(gateway, 'muster_gateway_queue_refusals_total')).toBe(4);
  });

  test('a request waits no longer than its service lets the whole of it take', async () => {
    const { held, address } = await holding();
    const one = service('slow', { ready: [address], timeoutMs: 200 });
    gateway.store.apply({ ...table([one]), policy: { access, qos: { concurrency: { perService: 1 } } } }, -1);
    const [first, second] = [ask(), ask()];
    await until(() => held.length >= 1);
    const answers = await Promise.all([first, second]);
    // Both ran out at once: the second as it waited, or just behind the door.
    expect(
      answers
        .map(({ status }) => status)
        .sort()
        .at(-1),
    ).toBe(504);
    expect(answers.every(({ status }) => status === 503 || status === 504)).toBe(true);
  });

  test('what a request waited is not given to it again behind the door', async () => {
    const { held, address } = await holding();
    const one = service('slow', { ready: [address], timeoutMs: 600 });
    gateway.store.apply({ ...table([one]), policy: { access, qos: { concurrency: { perService: 1 } } } }, -1);
    const [first, second] = [ask(), ask()];
    await until(() => held.length === 1);
    setTimeout(() => held[0]?.end('{}'), 400);
    let isOver = false;
    const both = Promise.all([first, second]).finally(() => (isOver = true));
    await until(() => held.length === 2 || isOver);
    setTimeout(() => held[1]?.end('{}'), 400); // 800 ms after it was asked
    const statuses = (await both).map(({ status }) => status).sort();
    expect(statuses).toEqual([200, expect.any(Number)]);
    expect([503, 504]).toContain(statuses[1]);
  });

  test('a thousand clients that vanish while they wait leave nothing behind, and their servers are told', async () => {
    let gone = 0;
    const { backend, held, address } = await holding();
    use(address, { concurrency: { perEndpoint: 3 } });
    const { port, hostname } = new URL(gateway.url);
    const body = JSON.stringify({ model: 'slow', prompt: 'x'.repeat(500) });
    const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    const sockets: Socket[] = [];
    for (let n = 0; n < 1_000; n += 1) {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => undefined);
      socket.write(head + body);
      sockets.push(socket);
      if (n % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 997);
    expect(await metric(gateway, 'muster_gateway_queue_bytes')).toBe(997 * body.length);
    for (const response of held) response.on('close', () => (gone += 1));
    for (const socket of sockets) socket.destroy();
    await until(async () => (await metric(gateway, 'muster_gateway_in_flight ')) === 1);
    expect(await metric(gateway, 'muster_gateway_queue_depth')).toBe(0);
    expect(await metric(gateway, 'muster_gateway_queue_bytes')).toBe(0);
    expect(await metric(gateway, 'muster_gateway_queue_places_taken{')).toBe(0);
    await until(() => gone === 3);
    expect(backend.seen).toHaveLength(3);
    const after = ask();
    await until(() => held.length === 4);
    held[3]?.end('{}');
    expect((await after).status).toBe(200);
  }, 30_000);

  test('a stream holds its place until its last event', async () => {
    const { held, address } = await holding();
    use(address, { concurrency: { perService: 1 } });
    const first = await Promise.all([
      fetch(`${gateway.url}/v1/completions`, { method: 'POST', body: '{"model":"slow","stream":true}' }),
      until(() => held.length === 1).then(() => {
        held[0]?.writeHead(200, { 'content-type': 'text/event-stream' });
        held[0]?.write('data: {}\n\n');
      }),
    ]).then(([response]) => response);
    const second = ask();
    await until(async () => (await metric(gateway, 'muster_gateway_queue_depth')) === 1);
    expect(held).toHaveLength(1);
    held[0]?.end('data: [DONE]\n\n');
    await first.text();
    await until(() => held.length === 2);
    held[1]?.end('{}');
    expect((await second).status).toBe(200);
  });
});
