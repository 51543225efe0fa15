import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { request as httpRequest } from 'node:http';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import type { CachedGateway } from '../../fixtures/cache/cached-gateway.ts';
import { ask, chunks, completion, event, json, stream } from '../../fixtures/cache/openai-server.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import type { Backend, Respond } from '../../fixtures/gateway/backends.ts';
import { postJson } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

const until = async (isSo: () => boolean | Promise<boolean>, what: string) => {
  for (let at = 0; at < 500; at += 1) {
    if (await isSo()) return;
    await sleep(10);
  }
  throw new Error(`never: ${what}`);
};

/** A server whose answers the test gives when it wants to. */
interface HeldServer {
  readonly respond: Respond;
  /** Responses not yet given, in order. */
  readonly open: ServerResponse[];
  count: number;
  /** Of responses whose connection broke before they were given. */
  broken: number;
}

function heldServer(): HeldServer {
  const server: HeldServer = {
    open: [],
    count: 0,
    broken: 0,
    respond: (_seen, response) => {
      server.count += 1;
      server.open.push(response);
      response.on('close', () => {
        if (!response.writableFinished) server.broken += 1;
      });
    },
  };
  return server;
}

describe('requests for the same answer at once', () => {
  let gateway: CachedGateway;
  let backend: Backend;
  let server: HeldServer;
  beforeEach(async () => {
    gateway = await startCachedGateway();
    server = heldServer();
    backend = await startBackend(server.respond);
    use({});
  });
  afterEach(async () => {
    for (const response of server.open) response.destroy();
    await gateway.close();
    await backend.close();
  });
  const use = (cache: Record<string, unknown>) => {
    gateway.use([service('tiny', { ready: [backend.address] })], { enabled: true, ...cache });
  };
  const chat = (body: unknown = ask(), headers: Record<string, string> = {}) =>
    postJson(`${gateway.url}/v1/chat/completions`, body, headers);
  const waiting = (count: number) =>
    until(async () => (await gateway.metric('muster_gateway_cache_waiting')) === count, `${count} waiting`);
  const asked = (count: number) => until(() => server.count === count, `${count} asked`);
  const give = (text: string) => {
    const response = server.open.shift();
    if (response === undefined) throw new Error('nobody asks');
    json(response, 200, completion(text));
  };
  /** Begins a request that can be left. */
  const leaving = (body: unknown = ask()) => {
    const request = httpRequest(`${gateway.url}/v1/chat/completions`, { method: 'POST' });
    request.on('error', () => undefined);
    request.end(JSON.stringify(body));
    return () => request.destroy();
  };

  test('500 of them are one call to the server', async () => {
    const all = Array.from({ length: 500 }, (_, at) =>
      chat(ask('hi', { stream: at % 5 === 0, stream_options: { include_usage: true } })),
    );
    await waiting(499);
    give('one');
    const answers = await Promise.all(all);
    expect(server.count).toBe(1);
    expect(answers.filter(({ status, text }) => status === 200 && text.includes('one'))).toHaveLength(500);
    const levels = answers.map(({ headers }) => headers.get('x-muster-cache-level'));
    expect(levels.filter((level) => level === 'flight')).toHaveLength(499);
    expect(await gateway.metric('muster_gateway_cache_requests_total', { result: 'hit_flight' })).toBe(499);
    expect(await gateway.metric('muster_gateway_in_flight')).toBe(1); // the scrape
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
  });

  test('go to the server each where the policy says so', async () => {
    use({ singleFlight: { enabled: false } });
    const all = [chat(), chat()];
    await asked(2);
    give('a');
    give('b');
    expect((await Promise.all(all)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test('are answered though the client of the first leaves', async () => {
    const leave = leaving();
    await asked(1);
    const others = [chat(), chat()];
    await waiting(2);
    leave();
    await sleep(50);
    expect(server.broken).toBe(0);
    give('for the others');
    for (const { status, text } of await Promise.all(others)) {
      expect(status).toBe(200);
      expect(text).toContain('for the others');
    }
    expect(server.count).toBe(1);
    expect(await gateway.metric('muster_gateway_cache_outlived_total')).toBe(1);
    // The first is counted as left, once its answer has ended; nothing is in flight any more.
    expect(await gateway.metric('muster_gateway_requests_total', { code: '499' })).toBe(1);
    expect(await gateway.metric('muster_gateway_in_flight')).toBe(1);
  });

  test('are answered though the client of a stream leaves in its middle', async () => {
    const leave = leaving(ask('hi', { stream: true }));
    await asked(1);
    const response = server.open.shift();
    const events = chunks('one two three', true);
    response?.writeHead(200, { 'content-type': 'text/event-stream' });
    response?.write(events[0]);
    const other = chat();
    await waiting(1);
    leave();
    await sleep(50);
    for (const event of events.slice(1)) response?.write(event);
    response?.end();
    const { status, text } = await other;
    expect(status).toBe(200);
    expect(text).toContain('one two three');
    expect(server.count).toBe(1);
  });

  test('let the server go when nobody waits any more', async () => {
    const leaveFirst = leaving();
    await asked(1);
    const leaveSecond = leaving();
    await waiting(1);
    leaveFirst();
    await sleep(50);
    expect(server.broken).toBe(0);
    leaveSecond();
    await until(() => server.broken === 1, 'the server is told');
    await until(async () => (await gateway.metric('muster_gateway_in_flight')) === 1, 'nothing in flight');
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
    expect(await gateway.metric('muster_gateway_requests_total', { code: '499' })).toBe(2);
  });

  test('let the server go when one leaves whom nobody waits for', async () => {
    const leave = leaving();
    await asked(1);
    leave();
    await until(() => server.broken === 1, 'the server is told');
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
  });

  test('are led by the next one when the first gets an error', async () => {
    const all = [chat(), chat(), chat()];
    await waiting(2);
    const response = server.open.shift();
    if (response !== undefined) json(response, 500, { error: { message: 'x' } });
    await asked(2);
    await waiting(1);
    give('second');
    const answers = await Promise.all(all);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 500]);
    expect(server.count).toBe(2);
  });

  test('are led by the first of the most urgent ones when the first gets an error', async () => {
    const all = [];
    const tiers = ['standard', 'best-effort', 'standard', 'best-effort', 'standard'];
    for (const [at, tier] of tiers.entries()) {
      all.push(chat(ask('hi', { user: `${at}` }), { 'x-muster-tier': tier }));
      if (at === 0) await asked(1);
      else await waiting(at);
    }
    for (let turn = 1; turn <= 2; turn += 1) {
      const response = server.open.shift();
      if (response !== undefined) json(response, 500, { error: { message: 'x' } });
      await asked(turn + 1);
    }
    give('third');
    const answers = await Promise.all(all);
    expect(answers.map(({ status }) => status)).toEqual([500, 200, 500, 200, 200]);
    const users = backend.seen.map(({ body }) => (JSON.parse(body.toString()) as { user: string }).user);
    expect(users).toEqual(['0', '2', '4']);
  });

  test('are led by the next one when the server breaks the connection', async () => {
    const all = [chat(), chat()];
    await waiting(1);
    // Each request may be sent once more: two broken connections are one failed leader.
    for (let at = 0; at < 2; at += 1) {
      await asked(at + 1);
      server.open.shift()?.destroy();
    }
    await asked(3);
    give('second');
    const answers = await Promise.all(all);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 502]);
  });

  test('all go on when so many have asked in vain', async () => {
    use({ singleFlight: { leadersMax: 2 } });
    const all = Array.from({ length: 6 }, () => chat());
    await waiting(5);
    for (let at = 0; at < 2; at += 1) {
      await asked(at + 1);
      const response = server.open.shift();
      if (response !== undefined) json(response, 500, { error: { message: 'x' } });
    }
    await asked(6);
    for (let at = 0; at < 4; at += 1) give('at last');
    const answers = await Promise.all(all);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(4);
  });

  test('do not wait for an answer that can never be shared, nor do later ones', async () => {
    const all = [chat(), chat(), chat()];
    await waiting(2);
    const forbid = (response: ServerResponse | undefined) => {
      response?.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response?.end(JSON.stringify(completion('mine')));
    };
    forbid(server.open.shift());
    await asked(3);
    const later = [chat(), chat()];
    await asked(5);
    for (let at = 0; at < 4; at += 1) forbid(server.open.shift());
    for (const { status } of await Promise.all([...all, ...later])) expect(status).toBe(200);
  });

  test('wait no longer than the policy says for a server that hangs', async () => {
    use({ singleFlight: { waitMs: 100 } });
    const first = chat();
    await asked(1);
    const second = chat();
    await asked(2);
    const [, other] = server.open;
    if (other !== undefined) json(other, 200, completion('without you'));
    expect((await second).text).toContain('without you');
    give('late');
    await first;
    expect(await gateway.metric('muster_gateway_cache_unserved_waits_total', { reason: 'too_long' })).toBe(1);
  });

  test('are no more than the policy says', async () => {
    use({ singleFlight: { waitersMax: 1 } });
    const all = [chat(), chat(), chat()];
    await asked(2);
    expect(await gateway.metric('muster_gateway_cache_waiting')).toBe(1);
    give('a');
    give('b');
    await Promise.all(all);
    expect(server.count).toBe(2);
  });

  test('of another form ask for themselves when they cannot be served', async () => {
    const first = chat(ask('hi', { stream: true }));
    await asked(1);
    const second = chat();
    await waiting(1);
    const response = server.open.shift();
    if (response !== undefined) stream(response, chunks('no usage', false));
    await asked(2);
    give('with usage');
    expect((await first).text).toContain('no ');
    expect((await second).text).toContain('with usage');
  });

  test('are not held up by a first one that reads nothing', async () => {
    const url = new URL(gateway.url);
    const body = JSON.stringify(ask('hi', { stream: true }));
    const slow = connect(Number(url.port), url.hostname);
    slow.on('error', () => undefined);
    slow.pause();
    slow.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    use({ entryBytesMax: 30_000_000 });
    await asked(1);
    const other = chat(ask('hi', { stream: true }));
    await waiting(1);
    const response = server.open.shift();
    response?.writeHead(200, { 'content-type': 'text/event-stream' });
    const [first = '', , ...end] = chunks('x', false);
    response?.write(first);
    // More than sockets and buffers hold: by itself, the first client would hold its server back for ever.
    const large = event({
      choices: [{ index: 0, delta: { content: 'x'.repeat(20_000) }, finish_reason: null }],
    });
    for (let at = 0; at < 1_000; at += 1) response?.write(large);
    for (const each of end) response?.write(each);
    response?.end();
    const { text } = await other;
    expect(text.length).toBeGreaterThan(20_000_000);
    slow.destroy();
  });

  test('survive clients that come and go at random', async () => {
    use({ singleFlight: { waitMs: 200 }, ttlSeconds: 0.02 });
    let isOver = false;
    const serve = async () => {
      let count = 0;
      while (!isOver) {
        await sleep(3);
        const response = server.open.shift();
        if (response === undefined) continue;
        count += 1;
        if (count % 3 === 0) response.destroy();
        else if (count % 4 === 0) json(response, 500, { error: { message: 'x' } });
        else json(response, 200, completion(`n${count}`));
      }
    };
    const serving = serve();
    const kept: Promise<{ status: number }>[] = [];
    for (let at = 0; at < 400; at += 1) {
      if (at % 2 === 0) {
        const leave = leaving(ask(`q${at % 5}`, { stream: at % 4 === 0 }));
        setTimeout(leave, at % 17);
      } else kept.push(chat(ask(`q${at % 5}`)));
      if (at % 10 === 0) await sleep(5);
    }
    for (const { status } of await Promise.all(kept)) expect([200, 500, 502]).toContain(status);
    await until(async () => (await gateway.metric('muster_gateway_in_flight')) === 1, 'nothing in flight');
    expect(await gateway.metric('muster_gateway_cache_flights')).toBe(0);
    expect(await gateway.metric('muster_gateway_cache_waiting')).toBe(0);
    isOver = true;
    await serving;
  });
});
