import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { tiers } from '../../../domain/qos/tier.ts';
import { isEligible } from '../../../domain/routing/pick.ts';
import type { Passage } from '../../../gateway/passage.ts';
import { Door } from '../../fixtures/admission/door.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import type { ServiceSketch } from '../../fixtures/gateway/tables.ts';

const one = { concurrency: { perEndpoint: 1 } };
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

describe('admission', () => {
  const doors: Door[] = [];
  const open = (policy: unknown, services?: Record<string, ServiceSketch>): Door => {
    const door = new Door();
    doors.push(door);
    door.use(policy, services);
    return door;
  };
  afterEach(() => {
    for (const door of doors.splice(0)) door.admission.close();
  });

  test('lets everything pass when nothing is limited', () => {
    const door = open({});
    for (let n = 0; n < 100; n += 1) door.ask();
    expect(door.running).toHaveLength(100);
    expect(door.running[0]?.gate).toBeNull();
  });

  test('lets as many pass as there are places, and the next when one is done', () => {
    const door = open({ concurrency: { perEndpoint: 2 } }, { a: { ready: ['http://a:1', 'http://a:2'] } });
    const asked = Array.from({ length: 6 }, () => door.ask());
    expect(door.running).toEqual(asked.slice(0, 4));
    expect(door.admission.waiting).toBe(2);
    door.end(asked[1]!);
    expect(door.running).toContain(asked[4]);
    expect(door.running).not.toContain(asked[5]);
  });

  test('tells every picker how much an endpoint takes, and takes the word back', () => {
    const services = { a: { ready: ['http://s:1'] }, b: { ready: ['http://s:1'] } };
    const policy = { concurrency: { perEndpoint: 3, services: { 'default/b': { perEndpoint: 2 } } } };
    const door = open(policy, services);
    const load = door.endpoints.bind('http://s:1');
    load.inFlight = 1;
    expect(isEligible(load, 0)).toBe(true);
    load.inFlight = 2;
    expect(isEligible(load, 0)).toBe(false);
    door.use({}, services);
    expect(isEligible(load, 0)).toBe(true);
  });

  describe('of a service whose second server is ejected', () => {
    const both = { a: { ready: ['http://a:1', 'http://a:2'] } };
    const eject = (door: Door, address: string): void => {
      Object.assign(door.endpoints.bind(address), { skipUntilMs: door.nowMs + 5_000, inFlightMax: 1 });
    };

    test('waits for the first one, though the second is idle', () => {
      const door = open(one, both);
      eject(door, 'http://a:2');
      const [first, second] = [door.ask(), door.ask()];
      expect(door.running).toEqual([first]);
      door.end(first);
      expect(door.running).toEqual([second]);
    });

    test('lets as many go to it as it may have while it is half open', async () => {
      const door = open({ concurrency: { perEndpoint: 2 } }, both);
      eject(door, 'http://a:2');
      const asked = Array.from({ length: 5 }, () => door.ask());
      expect(door.running).toEqual(asked.slice(0, 2));
      door.nowMs += 5_000; // nothing tells the door that the time of the ejection is over
      await until(() => door.running.length > 2);
      expect(door.running).toEqual(asked.slice(0, 3));
      expect(door.endpoints.bind('http://a:2').inFlight).toBe(1);
    });

    test('asks both when both are: a guess about health stops no service', () => {
      const door = open(one, both);
      eject(door, 'http://a:1');
      eject(door, 'http://a:2');
      const asked = [door.ask(), door.ask(), door.ask()];
      expect(door.running).toEqual(asked.slice(0, 2));
    });

    test('asks the second one when the first is ejected, too, while its requests hang', async () => {
      const door = open(one, both);
      eject(door, 'http://a:2');
      const asked = [door.ask(), door.ask()];
      eject(door, 'http://a:1');
      await until(() => door.running.length > 1);
      expect(door.running).toEqual(asked);
    });
  });

  test('tells a request that waited how long, and no other', () => {
    const door = open(one);
    const [first, second] = [door.ask(), door.ask()];
    door.nowMs += 250;
    door.end(first);
    expect(second.responseHeaders).toEqual(['x-muster-queue-ms', '250']);
    expect(first.responseHeaders).toBeNull();
  });

  test('asks nothing of reads, lists and probes', () => {
    const door = open(one);
    for (let n = 0; n < 3; n += 1) door.ask({ path: '/v2/models/a/infer' });
    expect(door.running).toHaveLength(1);
    door.ask({ path: '/v2/models/a/ready' });
    expect(door.running).toHaveLength(2);
  });

  test('gives no place to a request whose transformer will come back through here', () => {
    const door = open(one);
    const outer = door.ask({ isChained: true });
    const inner = door.ask();
    expect(door.running).toEqual([outer, inner]);
  });

  test('serves the urgent first, and a request that asks for a lower tier as that', () => {
    const door = open(one);
    const first = door.ask();
    const low = door.ask({ tier: 'critical', headers: { 'x-muster-tier': 'best-effort' } });
    const high = door.ask({ tier: 'high' });
    const never = door.ask({ tier: 'standard', headers: { 'x-muster-tier': 'critical' } });
    expect([low, high, never].map(({ queued }) => queued?.tier)).toEqual(['best-effort', 'high', 'standard']);
    door.end(first);
    expect(door.running).toEqual([high]);
  });

  test('a client that leaves frees its place in the queue at once, and its place with a server', async () => {
    const door = open(one);
    const [first, second, third] = [door.ask(), door.ask(), door.ask()];
    door.end(second, false);
    expect(door.admission.waiting).toBe(1);
    door.end(first, false);
    await nextTurn();
    expect(door.running).toEqual([third]);
    door.end(third);
    expect(door.admission.waiting).toBe(0);
    expect(door.running).toEqual([]);
  });

  test('more endpoints let more go at once', async () => {
    const door = open(one);
    const asked = [door.ask(), door.ask(), door.ask()];
    door.use(one, { a: { ready: ['http://a:1', 'http://a:2'] } });
    await nextTurn();
    expect(door.running).toEqual(asked.slice(0, 2));
  });

  test('those who wait go on waiting while a serving service has no endpoint, and new ones wait behind them', async () => {
    const door = open(one);
    const [first, second] = [door.ask(), door.ask()];
    door.use(one, { a: { unready: ['http://a:1'] } });
    door.end(first);
    const third = door.ask();
    await nextTurn();
    expect(door.running).toEqual([]);
    door.use(one);
    await nextTurn();
    expect(door.running).toEqual([second]);
    door.end(second);
    expect(door.running).toEqual([third]);
  });

  test('those who wait go on waiting while their service falls asleep: others wake it', async () => {
    const door = open(one);
    const [first, second] = [door.ask(), door.ask()];
    door.use(one, { a: { state: 'Asleep' } });
    door.end(first);
    await nextTurn();
    expect(door.running).toEqual([]);
    door.use(one);
    await nextTurn();
    expect(door.running).toEqual([second]);
  });

  test('a service without endpoints makes nobody wait who comes first: the forwarding says why', () => {
    const door = open(one, { a: { unready: ['http://a:1'] } });
    door.ask();
    door.ask();
    expect(door.running).toHaveLength(2);
  });

  test.each<[string, unknown, Record<string, ServiceSketch>]>([
    ['is stopped', one, { a: { state: 'Stopped', ready: ['http://a:1'] } }],
    ['failed', one, { a: { state: 'Failed' } }],
    ['is gone', one, {}],
    ['is not limited any more', {}, { a: { ready: ['http://a:1'] } }],
  ])('all who wait are let go when their service %s', async (_name, policy, services) => {
    const door = open(one);
    for (let n = 0; n < 5; n += 1) door.ask();
    door.use(policy, services);
    await nextTurn();
    expect(door.running).toHaveLength(5);
    expect(door.admission.waiting).toBe(0);
  });

  test('thousands who are let go at once go in several turns of the event loop, and all go', async () => {
    const door = open(one);
    for (let n = 0; n < 500; n += 1) door.ask();
    door.use({});
    await nextTurn();
    expect(door.running.length).toBeLessThan(500);
    for (let n = 0; n < 5; n += 1) await nextTurn();
    expect(door.running).toHaveLength(500);
  });

  test('an endpoint that another service loads is full for both', async () => {
    const shared = { a: { ready: ['http://s:1'] }, b: { ready: ['http://s:1'] } };
    const door = open(
      { concurrency: { perEndpoint: 1, services: { 'default/b': { perEndpoint: 1 } } } },
      shared,
    );
    const other = door.ask({ name: 'b' });
    const waiting = door.ask();
    expect(door.running).toEqual([other]);
    other.service = waiting.service; // as after a failover: the place that comes free is this service's
    door.end(other);
    await nextTurn();
    expect(door.running).toEqual([waiting]);
  });

  describe('refuses', () => {
    const codes = (door: Door) => door.refused.map(({ refusal }) => refusal.code);

    test('a tenant that has its share of the queue, with 429, and nobody else', () => {
      const door = open({ ...one, queue: { tenantRequestsMax: 2 } });
      for (let n = 0; n < 4; n += 1) door.ask({ tenant: 'greedy', tier: 'critical' });
      door.ask({ tenant: 'modest', tier: 'best-effort' });
      expect(codes(door)).toEqual(['tenant_queue_full']);
      expect(door.admission.waiting).toBe(3);
    });

    test('a key without a tenant as a tenant of its own, and nobody for being unknown', () => {
      const door = open({ ...one, queue: { tenantRequestsMax: 1 } });
      door.ask();
      const [, second] = [door.ask({ tenant: '', id: 'k1' }), door.ask({ tenant: '', id: 'k1' })];
      door.ask({ tenant: '', id: 'k2' });
      door.ask({ tenant: '' });
      door.ask({ tenant: '' });
      expect(door.refused.map(({ passage }) => passage)).toEqual([second]);
    });

    test('what comes when its tier or the whole queue is full of its like', () => {
      const tierFull = open({ ...one, queue: { tierRequestsMax: { standard: 1 } } });
      const allFull = open({ ...one, queue: { requestsMax: 2 } });
      for (let n = 0; n < 3; n += 1) tierFull.ask();
      for (let n = 0; n < 4; n += 1) allFull.ask();
      expect([codes(tierFull), codes(allFull)]).toEqual([['queue_full'], ['queue_full']]);
    });

    test('the youngest of the least urgent when a more urgent one needs the place, also of another service', () => {
      const door = open(
        { ...one, queue: { requestsMax: 3 } },
        { a: { ready: ['http://a:1'] }, b: { ready: ['http://b:1'] } },
      );
      door.ask();
      door.ask({ name: 'b' });
      const high = door.ask({ tier: 'high' });
      const old = door.ask({ tier: 'best-effort' });
      door.nowMs += 1;
      const young = door.ask({ tier: 'best-effort', name: 'b' });
      const critical = door.ask({ tier: 'critical' });
      expect(door.refused.map(({ passage }) => passage)).toEqual([young]);
      expect(codes(door)).toEqual(['queue_displaced']);
      expect([high, old, critical].map(({ queued }) => queued?.isWaiting)).toEqual([true, true, true]);
      expect(young.responseHeaders).toEqual(['x-muster-refused', 'queue_displaced']);
    });

    test('one of the least urgent tier before a younger one of another, at whichever service', () => {
      const services = { a: { ready: ['http://a:1'] }, b: { ready: ['http://b:1'] } };
      const door = open({ ...one, queue: { requestsMax: 2 } }, services);
      door.ask();
      door.ask({ name: 'b' });
      const least = door.ask({ tier: 'best-effort', name: 'b' });
      door.nowMs += 1;
      door.ask({ tier: 'standard' });
      door.ask({ tier: 'high' });
      expect(door.refused.map(({ passage }) => passage)).toEqual([least]);
    });

    test('nobody for a request that would not fit even then', () => {
      const door = open({ ...one, queue: { bytesMax: 100 } });
      door.ask();
      door.ask({ tier: 'high', bytes: 60 });
      door.ask({ tier: 'best-effort', bytes: 40 });
      const large = door.ask({ tier: 'critical', bytes: 101 });
      const medium = door.ask({ tier: 'standard', bytes: 50 });
      expect(door.refused.map(({ passage }) => passage)).toEqual([large, medium]);
      expect(door.admission.waiting).toBe(2);
      door.ask({ tier: 'critical', bytes: 90 });
      expect(codes(door).slice(2)).toEqual(['queue_displaced', 'queue_displaced']);
    });

    test('with the time in which those before it will be through', () => {
      const door = open({ ...one, queue: { requestsMax: 20 } });
      door.ask();
      for (let n = 0; n < 40; n += 1) {
        door.nowMs += 500;
        door.ask();
        if (door.running[0] !== undefined && n >= 20) door.end(door.running[0]);
      }
      door.ask();
      // Two a second go, and twenty wait.
      expect(door.refused.at(-1)?.refusal.retryAfterS).toBe(10);
    });
  });

  test('for any history the bounds hold, nothing is lost or answered twice, and no place stays empty beside a queue', async () => {
    const act = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant('ask' as const),
          tier: fc.constantFrom(...tiers),
          tenant: fc.constantFrom('x', 'y', 'z'),
          name: fc.constantFrom('a', 'b'),
          bytes: fc.integer({ min: 0, max: 40 }),
        }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('end' as const), at: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), at: fc.nat() }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('table' as const), a: fc.integer({ min: 0, max: 3 }) }),
      },
    );
    const bounds = { requestsMax: 6, bytesMax: 120, tenantRequestsMax: 4, tierRequestsMax: { high: 2 } };
    const policy = {
      concurrency: { perEndpoint: 2, services: { 'default/b': { perService: 1 } } },
      queue: bounds,
    };
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 120 }), async (acts) => {
        const addresses = (n: number) => Array.from({ length: n }, (_, at) => `http://a:${at}`);
        const services = (n: number) => ({ a: { ready: addresses(n) }, b: { ready: ['http://b:1'] } });
        const door = open(policy, services(1));
        const asked: Passage[] = [];
        let places = 2;
        for (const one of acts) {
          door.nowMs += 1;
          if (one.kind === 'ask') asked.push(door.ask(one));
          const runs =
            door.running.length === 0
              ? undefined
              : door.running[('at' in one ? one.at : 0) % door.running.length];
          if (one.kind === 'end' && runs !== undefined) door.end(runs);
          if (one.kind === 'leave') {
            const open = asked.filter(({ isClosed }) => !isClosed);
            const leaver = open[one.at % Math.max(1, open.length)];
            if (leaver !== undefined) door.end(leaver, false);
          }
          if (one.kind === 'table') {
            door.use(policy, services(one.a));
            places = one.a * 2;
          }
          await nextTurn();
          const queued = asked.filter((passage) => passage.queued !== null);
          expect(door.admission.waiting).toBe(queued.length);
          expect(queued.length).toBeLessThanOrEqual(6);
          expect(queued.reduce((sum, { queued: entry }) => sum + (entry?.bytes ?? 0), 0)).toBeLessThanOrEqual(
            120,
          );
          for (const tenant of ['x', 'y', 'z'])
            expect(queued.filter(({ caller }) => caller?.tenant === tenant).length).toBeLessThanOrEqual(4);
          const of = (list: Passage[], key: string) =>
            list.filter((p) => p.service?.key === `default/${key}`);
          if (of(queued, 'a').length > 0) expect(of(door.running, 'a').length).toBeGreaterThanOrEqual(places);
          if (of(queued, 'b').length > 0) expect(of(door.running, 'b').length).toBe(1);
          const settled = asked.filter(({ isClosed }) => isClosed).length;
          expect(settled + queued.length + door.running.length).toBe(asked.length);
          expect(new Set(door.running).size).toBe(door.running.length);
        }
        for (const passage of asked) if (!passage.isClosed) door.end(passage, false);
        await nextTurn();
        expect(door.admission.waiting).toBe(0);
        const text = await door.registry.metrics();
        expect(text).not.toMatch(/muster_gateway_queue_(depth|bytes|places_taken)\{.*\} [1-9]/);
        door.admission.close();
      }),
      { numRuns: 100 },
    );
  });
});
