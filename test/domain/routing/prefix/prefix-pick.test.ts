import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Accept, Candidate, PickState } from '../../../../domain/routing/pick.ts';
import { BlockHashes } from '../../../../domain/routing/prefix/block-hashes.ts';
import {
  PrefixPick,
  PrefixState,
  defaultPrefixRules,
} from '../../../../domain/routing/prefix/prefix-pick.ts';
import type { PrefixLoad } from '../../../../domain/routing/prefix/prefix-pick.ts';

const state: PickState = { nowMs: 0, chance: () => 0, tried: [] };
const any: Accept = () => true;

function candidate(name: string): Candidate<PrefixLoad> {
  const address = `http://${name}:8000`;
  const load = { inFlight: 0, skipUntilMs: 0, inFlightMax: Infinity, prefix: new PrefixState(address, 1024) };
  return { address, revision: 'r', load };
}
const candidates = (count: number) => Array.from({ length: count }, (_, at) => candidate(`server-${at}`));

function hashed(bytes: Buffer): BlockHashes {
  const hashes = new BlockHashes();
  hashes.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length, 1);
  return hashes;
}
/** 2 KiB that belong to a group, 1 KiB that is the request's own. */
function prompt(group: number | string, own: number | string): BlockHashes {
  return hashed(Buffer.concat([Buffer.alloc(2048, `<${group}>`), Buffer.alloc(1024, `[${own}]`)]));
}

/** A small generator: tests that fail by chance are of no use. */
function random(seed: number): () => number {
  let at = seed;
  return () => {
    at = (Math.imul(at, 1664525) + 1013904223) >>> 0;
    return at / 2 ** 32;
  };
}

interface Run {
  readonly hitRate: number;
  readonly maxByMean: number;
  readonly reasons: Record<string, number>;
}

/** Requests in a closed loop against servers that each keep the last 16 groups; the first part is not counted. */
function simulate(groupOf: (chance: () => number) => number, requests = 6_000, hands = 32): Run {
  const chance = random(7);
  const servers = candidates(8);
  const kept = servers.map(() => new Set<number>());
  const counts = servers.map(() => 0);
  const rule = new PrefixPick<PrefixLoad>();
  const inHand: [Candidate<PrefixLoad>, number][] = [];
  const reasons: Record<string, number> = {};
  let hits = 0;
  const warm = requests / 5;
  for (let at = 0; at < requests; at += 1) {
    if (inHand.length === hands) {
      const [[done, bytes]] = inHand.splice(Math.floor(chance() * hands), 1) as [
        [Candidate<PrefixLoad>, number],
      ];
      done.load.inFlight -= 1;
      done.load.prefix.uncachedBytes -= bytes;
    }
    const group = groupOf(chance);
    const hashes = prompt(group, at);
    const chosen = rule.choose(servers, state, any, hashes)!;
    const bytes = hashes.bytesOf(hashes.count) - hashes.bytesOf(rule.cachedBlocks);
    chosen.load.inFlight += 1;
    chosen.load.prefix.uncachedBytes += bytes;
    inHand.push([chosen, bytes]);
    const own = kept[servers.indexOf(chosen)]!;
    if (at >= warm) {
      reasons[rule.reason] = (reasons[rule.reason] ?? 0) + 1;
      counts[servers.indexOf(chosen)]! += 1;
      if (own.has(group)) hits += 1;
    }
    own.delete(group);
    own.add(group);
    if (own.size > 16) own.delete([...own][0]!);
  }
  const counted = requests - warm;
  return { hitRate: hits / counted, maxByMean: (Math.max(...counts) * 8) / counted, reasons };
}

describe('picking by prompts', () => {
  const zipf = (groups: number) => (chance: () => number) => Math.floor((groups + 1) ** chance()) - 1;
  let next = 0;
  test.each<[string, (chance: () => number) => number, number]>([
    ['64 groups alike', (chance) => Math.floor(chance() * 64), 0.99],
    ['100 groups alike', (chance) => Math.floor(chance() * 100), 0.99],
    ['64 groups, some much more often than others', zipf(64), 0.99],
    ['8 groups', (chance) => Math.floor(chance() * 8), 0.99],
    ['one prompt that everybody sends', () => 0, 0.99],
    ['prompts that never come again', () => (next += 1), 0],
  ])('%s: servers find what they kept, and none gets over 1.3 times the mean', (_name, groupOf, hitRate) => {
    const run = simulate(groupOf);
    expect(run.hitRate).toBeGreaterThanOrEqual(hitRate);
    expect(run.maxByMean).toBeLessThanOrEqual(1.3);
  });

  test('does not depend on the order of the candidates', () => {
    const orders = fc.tuple(
      fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 60 }),
      fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 }),
    );
    fc.assert(
      fc.property(orders, ([groups, order]) => {
        const [one, other] = [candidates(5), candidates(5)];
        const shuffled = order.map((at) => other[at]!);
        const [first, second] = [new PrefixPick<PrefixLoad>(), new PrefixPick<PrefixLoad>()];
        groups.forEach((group, at) => {
          const a = first.choose(one, state, any, prompt(group, at))!;
          const b = second.choose(shuffled, state, any, prompt(group, at))!;
          // Equally loaded servers may be told apart by their order alone; nobody is loaded here.
          expect(b.address).toBe(a.address);
        });
      }),
    );
  });

  test('two gateways that know nothing of each other send new prompts to the same servers', () => {
    const [one, other] = [candidates(8), candidates(8)];
    const [first, second] = [new PrefixPick<PrefixLoad>(), new PrefixPick<PrefixLoad>()];
    let same = 0;
    for (let group = 0; group < 64; group += 1) {
      const a = first.choose(one, state, any, prompt(group, 'a'))!;
      const b = second.choose(other, state, any, prompt(group, 'b'))!;
      if (a.address === b.address) same += 1;
    }
    expect(same).toBe(64);
  });

  test('the same beginning goes to the same server while that is not overloaded', () => {
    const servers = candidates(6);
    const rule = new PrefixPick<PrefixLoad>();
    const home = rule.choose(servers, state, any, prompt('a', 0))!;
    for (let at = 1; at < 20; at += 1) {
      expect(rule.choose(servers, state, any, prompt('a', at))).toBe(home);
      expect([rule.reason, rule.cachedBlocks]).toEqual(['held', 8]);
    }
  });

  test('an overloaded server is passed by, and by whom it is passed becomes a holder, too', () => {
    const servers = candidates(4);
    const rule = new PrefixPick<PrefixLoad>();
    const home = rule.choose(servers, state, any, prompt('a', 0))!;
    home.load.inFlight = 40;
    const other = rule.choose(servers, state, any, prompt('a', 1))!;
    expect([other === home, rule.reason]).toEqual([false, 'overload']);
    expect(rule.choose(servers, state, any, prompt('a', 2))).toBe(other);
    expect(rule.cachedBlocks).toBe(8);
  });

  test('nobody gets a request while its load is over the bound and another one is under it', () => {
    const loads = fc.array(fc.tuple(fc.nat(200), fc.nat(1_000_000)), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(loads, fc.array(fc.nat(10), { maxLength: 20 }), (given, groups) => {
        const servers = candidates(given.length);
        const rule = new PrefixPick<PrefixLoad>();
        for (const group of groups) rule.choose(servers, state, any, prompt(group, 0));
        const loadOf = ({ load }: Candidate<PrefixLoad>) => load.inFlight + load.prefix.uncachedBytes / 8192;
        servers.forEach(({ load }, at) => {
          [load.inFlight, load.prefix.uncachedBytes] = given[at]!;
        });
        const mean = servers.reduce((sum, each) => sum + loadOf(each), 0) / servers.length;
        const { overloadFactor, overloadSlack } = defaultPrefixRules;
        const chosen = rule.choose(servers, state, any, prompt(3, 1))!;
        expect(loadOf(chosen)).toBeLessThanOrEqual(mean * overloadFactor + overloadSlack);
      }),
    );
  });

  test('a server that goes moves its own prompts alone; one that comes takes a share of new ones', () => {
    const servers = candidates(8);
    const homes = new Map<number, string>();
    for (let group = 0; group < 40; group += 1)
      homes.set(
        group,
        new PrefixPick<PrefixLoad>().choose(candidates(8), state, any, prompt(group, 0))!.address,
      );
    const [gone] = servers;
    const left = candidates(8).filter(({ address }) => address !== gone!.address);
    for (const [group, home] of homes) {
      const fresh = left.map(({ address }) => candidate(address.slice(7, -5)));
      const now = new PrefixPick<PrefixLoad>().choose(fresh, state, any, prompt(group, 1))!.address;
      if (home === gone!.address) expect(now).not.toBe(home);
      else expect(now).toBe(home);
    }
  });

  test('only those that are accepted are chosen; nobody accepted is nobody chosen', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }), fc.nat(5), (accepted, group) => {
        const servers = candidates(accepted.length);
        const rule = new PrefixPick<PrefixLoad>();
        rule.choose(servers, state, any, prompt(group, 0));
        const accept: Accept = (each) =>
          accepted[servers.findIndex(({ address }) => address === each.address)] === true;
        const chosen = rule.choose(servers, state, accept, prompt(group, 1));
        if (accepted.includes(true)) expect(accept(chosen!, state)).toBe(true);
        else expect(chosen).toBeNull();
      }),
    );
  });

  test('a short common beginning does not bring all prompts to one server', () => {
    const servers = candidates(8);
    const rule = new PrefixPick<PrefixLoad>();
    const common = Buffer.alloc(512, 'You are a helpful assistant. ');
    const used = new Set<string>();
    for (let at = 0; at < 64; at += 1)
      used.add(
        rule.choose(
          servers,
          state,
          any,
          hashed(Buffer.concat([common, Buffer.alloc(4_000, `question ${at} `)])),
        )!.address,
      );
    expect(used.size).toBe(8);
  });
});
