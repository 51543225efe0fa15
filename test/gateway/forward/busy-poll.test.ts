import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { BusyPoll, registerBusyPollMetrics } from '../../../gateway/forward/busy-poll.ts';
import { Try } from '../../../gateway/forward/try.ts';
import type { TryOwner } from '../../../gateway/forward/try.ts';
import { Endpoints } from '../../../gateway/upstream/endpoints.ts';
import type { UpstreamHandler } from '../../../gateway/upstream/upstream.ts';
import { startBackend } from '../../fixtures/gateway/backends.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { chat, says } from '../../fixtures/resilience/forwarding.ts';

const turnMs = 0.01;
const fastMs = 0.1;

/** A poll on a clock and an event loop of the test's; each turn of it takes `turnMs`. */
function setUp(shareMax = 1) {
  let nowMs = 1_000;
  let next: (() => void) | null = null;
  const again = (look: () => void) => {
    if (next !== null) throw new Error('two looks in one turn');
    next = look;
  };
  const poll = new BusyPoll({ nowMs: () => nowMs, shareMax, again });
  return {
    poll,
    begin: (meanMs: number) => poll.begin(nowMs, meanMs),
    isAwake: () => next !== null,
    sleep: (ms: number) => {
      nowMs += ms;
    },
    turn: (ms = turnMs) => {
      nowMs += ms;
      const look = next;
      next = null;
      look?.();
    },
  };
}

/** Turns until it sleeps. @returns how many */
function turnsOf(loop: ReturnType<typeof setUp>, max = 10_000): number {
  let turns = 0;
  for (; loop.isAwake() && turns < max; turns += 1) loop.turn();
  return turns;
}

describe('the event loop', () => {
  test('stays awake until the answer of a fast server comes', () => {
    const loop = setUp();
    const number = loop.begin(fastMs);
    for (let at = 0; at < 5; at += 1) loop.turn();
    expect(loop.isAwake()).toBe(true);
    loop.poll.end(number);
    loop.turn();
    expect(loop.isAwake()).toBe(false);
    expect(loop.poll).toMatchObject({ polls: 1, inVain: 0 });
  });

  test('sleeps after twice the mean time', () => {
    const loop = setUp();
    loop.begin(fastMs);
    expect(turnsOf(loop)).toBeGreaterThanOrEqual(19);
    expect(loop.poll).toMatchObject({ polls: 1, inVain: 1 });
    expect(loop.poll.spentMs).toBeCloseTo(2 * fastMs, 1);
  });

  test('stays awake once for several answers, until the last', () => {
    const loop = setUp();
    const numbers = [1, 2, 3].map(() => loop.begin(fastMs));
    for (const number of numbers.slice(1)) loop.poll.end(number);
    loop.turn();
    expect(loop.isAwake()).toBe(true);
    loop.poll.end(numbers[0] ?? 0);
    loop.turn();
    expect(loop.isAwake()).toBe(false);
    expect(loop.poll.polls).toBe(1);
  });

  test('stays awake for a later answer that is due later', () => {
    const loop = setUp();
    loop.begin(fastMs);
    for (let at = 0; at < 10; at += 1) loop.turn();
    loop.begin(2 * fastMs);
    expect(turnsOf(loop)).toBeGreaterThan(35);
  });

  test('does not sleep earlier for a later answer that is due sooner', () => {
    const loop = setUp();
    loop.begin(0.5);
    loop.begin(fastMs);
    expect(turnsOf(loop)).toBeGreaterThan(95);
  });

  test('does not wait for an answer that an earlier poll gave up', () => {
    const loop = setUp();
    const late = loop.begin(fastMs);
    turnsOf(loop);
    const number = loop.begin(fastMs);
    loop.poll.end(late);
    loop.turn();
    expect(loop.isAwake()).toBe(true);
    loop.poll.end(number);
    loop.turn();
    expect(loop.isAwake()).toBe(false);
    expect(loop.poll).toMatchObject({ polls: 2, inVain: 1 });
  });

  test.each([
    ['is not known', -1],
    ['is slow', 0.6],
    ['is slower still', 20],
  ])('does not stay awake for a server that %s', (_what, meanMs) => {
    const loop = setUp();
    expect(loop.begin(meanMs)).toBe(0);
    expect(loop.isAwake()).toBe(false);
    expect(loop.poll.polls).toBe(0);
  });

  test('never stays awake where the share is nothing', () => {
    const loop = setUp(0);
    expect(loop.begin(fastMs)).toBe(0);
    expect(loop.isAwake()).toBe(false);
  });

  test('sleeps as soon as its share is spent, and stays awake again when there is more of it', () => {
    const loop = setUp(0.1);
    let turns = 0;
    for (; turns < 10_000 && loop.begin(0.5) > 0 && loop.isAwake(); turns += 1) loop.turn(); // never an end
    expect(turns * turnMs).toBeLessThan(6);
    expect(loop.begin(0.5)).toBe(0);
    loop.sleep(10);
    expect(loop.begin(0.5)).toBeGreaterThan(0);
  });

  test('saves no more than a burst, however long nothing came', () => {
    const loop = setUp(0.1);
    loop.sleep(10_000);
    for (let at = 0; at < 10_000 && loop.begin(0.5) > 0; at += 1) loop.turn();
    expect(loop.poll.spentMs).toBeLessThan(6);
  });

  test('stays awake again soon after a turn that took long', () => {
    const loop = setUp(0.1);
    loop.begin(fastMs);
    loop.turn(2_000);
    loop.sleep(60);
    expect(loop.begin(fastMs)).toBeGreaterThan(0);
  });

  test('is never awake for more than its share, whatever comes', () => {
    const step = fc.oneof(
      fc.record({ begin: fc.double({ min: -1, max: 1, noNaN: true }) }),
      fc.constant({ end: true }),
      fc.record({ turns: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ sleep: fc.double({ min: 0, max: 20, noNaN: true }) }),
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (steps, share) => {
          const loop = setUp(share);
          let elapsed = 0;
          const awaited: number[] = [];
          for (const one of steps) {
            if ('begin' in one) awaited.push(loop.begin(one.begin));
            else if ('end' in one) loop.poll.end(awaited.shift() ?? 0);
            else if ('turns' in one) {
              for (let at = 0; at < one.turns; at += 1) loop.turn();
              elapsed += one.turns * turnMs;
            } else if (!loop.isAwake()) {
              loop.sleep(one.sleep);
              elapsed += one.sleep;
            }
          }
          // What was saved before, and the turn in which the share ran out.
          expect(loop.poll.spentMs).toBeLessThanOrEqual(share * elapsed + 5 + 2 * turnMs);
          for (const number of awaited) loop.poll.end(number);
          expect(turnsOf(loop)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  test('tells how often and how long it stayed awake', async () => {
    const loop = setUp();
    const registry = new Registry();
    registerBusyPollMetrics(registry, loop.poll);
    loop.begin(fastMs);
    turnsOf(loop);
    const text = await registry.metrics();
    expect(text).toContain('\nmuster_gateway_busy_polls_total 1\n');
    expect(text).toContain('\nmuster_gateway_busy_polls_in_vain_total 1\n');
    expect(text).toMatch(/\nmuster_gateway_busy_poll_seconds_total 0\.0002\d*\n/u);
  });
});

/** A try at a server whose time is known, and the handler that its upstream was given. */
function tryOnce(onSend: (handler: UpstreamHandler) => void = () => undefined) {
  const handlers: UpstreamHandler[] = [];
  const call = { abort: () => undefined, pause: () => undefined, resume: () => undefined };
  const endpoints = new Endpoints(() => ({
    send: (_request, given) => {
      handlers.push(given);
      onSend(given);
      return call;
    },
    close: () => undefined,
  }));
  const address = 'http://127.0.0.1:1';
  const load = endpoints.bind(address);
  load.health.firstByteMs = fastMs;
  const { poll } = setUp();
  const ends = { count: 0 };
  const end = poll.end.bind(poll);
  poll.end = (number) => {
    ends.count += 1;
    end(number);
  };
  const owner: TryOwner = { onHead: () => undefined, onEnd: () => undefined, onFailure: () => undefined };
  const one = new Try(owner, { endpoints, poll }, { address, revision: 'r', load }, 1_000);
  const unused = { method: 'POST', path: '/', headers: [], body: null };
  one.send({ ...unused, headersMs: 1_000, bodyIdleMs: 1_000 });
  const [handler] = handlers;
  if (handler === undefined) throw new Error('nothing was sent');
  return { one, handler, ends };
}

describe('an answer is polled for until it', () => {
  test.each<[string, (made: ReturnType<typeof tryOnce>) => void]>([
    ['begins', ({ handler }) => handler.onHead(200, {})],
    [
      'begins, goes on and ends',
      ({ handler }) => {
        handler.onHead(200, {});
        handler.onData(Buffer.from('x'));
        handler.onEnd();
      },
    ],
    ['fails', ({ handler }) => handler.onFailure({ kind: 'reset', code: 'X', message: 'x' })],
    ['is given up', ({ one }) => one.abort()],
    [
      'begins and is given up',
      ({ one, handler }) => {
        handler.onHead(200, {});
        one.abort();
      },
    ],
    ['is not wanted any more', ({ one }) => one.discard()],
  ])('%s', (_what, act) => {
    const made = tryOnce();
    expect(made.ends.count).toBe(0);
    act(made);
    expect(made.ends.count).toBe(1);
  });
});

test('an answer that fails, or begins, while it is asked for is polled for no longer', () => {
  const fails = (handler: UpstreamHandler) => {
    handler.onFailure({ kind: 'refused', code: 'X', message: 'x' });
  };
  expect(tryOnce(fails).ends.count).toBe(1);
  expect(tryOnce((handler) => handler.onHead(200, {})).ends.count).toBe(1);
});

describe('a gateway', () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  const count = async (text: Promise<string>, name: string): Promise<number> =>
    Number(new RegExp(`^muster_gateway_${name} (\\S+)$`, 'mu').exec(await text)?.[1]);

  test('stays awake for a server that is known to be fast, and for no other', async () => {
    const gateway = await startTestGateway({}, undefined, { busyPollShare: 1 });
    const backend = await startBackend(says('x'));
    closers.push(
      () => gateway.close(),
      () => backend.close(),
    );
    gateway.use([service('m', { ready: [backend.address] })]);
    const { health } = gateway.endpoints.bind(backend.address);
    const polls = () => count(gateway.metrics.registry.metrics(), 'busy_polls_total');
    const ask = async (meanMs: number) => {
      health.firstByteMs = meanMs;
      const answer = await postJson(`${gateway.url}/v1/chat/completions`, chat);
      expect(answer.status).toBe(200);
    };
    for (let at = 0; at < 5; at += 1) await ask(0.4);
    expect(await polls()).toBe(5);
    for (let at = 0; at < 5; at += 1) await ask(30);
    expect(await polls()).toBe(5);
  });
});
