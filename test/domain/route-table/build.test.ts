import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ReplicaReport } from '../../../domain/node/report.schema.ts';
import type { HeardReport } from '../../../domain/route-table/build.ts';
import { buildRouteTable, isSilent, nodeSilentAfterMs } from '../../../domain/route-table/build.ts';
import type { RouteAssignment } from '../../../domain/route-table/route-table.schema.ts';
import { RouteTable } from '../../../domain/route-table/route-table.schema.ts';
import { assignment, nodeReport, replica } from '../../fixtures/control/manifests.ts';

const now = 1_000_000;
const heard = (node: string, replicas: readonly ReplicaReport[], agoMs = 0): HeardReport => ({
  report: nodeReport(node, replicas),
  heardAt: now - agoMs,
});
const iris = assignment('iris', [{ revision: 'r1', percent: 100 }]);
const endpointsOf = (assignments: readonly RouteAssignment[], reports: readonly HeardReport[]) =>
  buildRouteTable(1, assignments, reports, now).services.flatMap(({ targets }) =>
    targets.flatMap(({ endpoints }) => endpoints),
  );

describe('buildRouteTable', () => {
  test.each<[state: ReplicaReport['state'], endpoints: { ready: boolean }[]]>([
    ['Ready', [{ ready: true }]],
    ['NotReady', [{ ready: false }]],
    ['Starting', [{ ready: false }]],
    ['CrashLoopBackOff', [{ ready: false }]],
    ['Stopping', []],
  ])('a replica that is %s', (state, expected) => {
    const endpoints = endpointsOf([iris], [heard('a', [replica('iris', 'r1', 1, state)])]);
    expect(endpoints).toEqual(
      expected.map(({ ready }) => ({ address: 'http://127.0.0.1:1', revision: 'r1', ready })),
    );
  });

  test("hands on a service's logger and batcher, and a table with them is one that gateways take", () => {
    const logger = { url: 'http://sink', mode: 'all' as const, annotations: { team: 'blue' } };
    const batcher = { maxBatchSize: 4, maxLatencyMs: 50, timeoutMs: 3_000 };
    const table = buildRouteTable(1, [{ ...iris, logger, batcher }], [], now);
    expect(RouteTable.parse(JSON.parse(JSON.stringify(table))).services[0]).toMatchObject({
      logger,
      batcher,
    });
  });

  test('keeps the endpoints of a node that fell silent, so that traffic goes on', () => {
    const silent = heard('a', [replica('iris', 'r1', 1)], nodeSilentAfterMs * 100);
    expect(isSilent(silent, now)).toBe(true);
    expect(endpointsOf([iris], [silent])).toEqual([
      { address: 'http://127.0.0.1:1', revision: 'r1', ready: true },
    ]);
  });

  test('believes the node that is heard of, when a silent one reports the same address', () => {
    const reports = [
      heard('old-name', [replica('iris', 'r1', 1, 'Ready')], nodeSilentAfterMs + 1),
      heard('new-name', [replica('iris', 'r1', 1, 'Starting')]),
    ];
    expect(endpointsOf([iris], reports)).toEqual([
      { address: 'http://127.0.0.1:1', revision: 'r1', ready: false },
    ]);
  });

  test('gives an address to the replica that lives on it, when a port was given out again', () => {
    const tiny = assignment('tiny', [{ revision: 'r9', percent: 100 }]);
    const report = heard('a', [replica('tiny', 'r9', 1, 'CrashLoopBackOff'), replica('iris', 'r1', 1)]);
    expect(endpointsOf([iris, tiny], [report])).toEqual([
      { address: 'http://127.0.0.1:1', revision: 'r1', ready: true },
    ]);
  });

  test('leaves out replicas without an address yet', () => {
    const starting = { ...replica('iris', 'r1', 1, 'Starting'), address: '' };
    expect(endpointsOf([iris], [heard('a', [starting])])).toEqual([]);
  });

  test('does not mix services that have revisions of one name', () => {
    const other = { ...replica('iris', 'r1', 2), namespace: 'elsewhere' };
    expect(endpointsOf([iris], [heard('a', [other])])).toEqual([]);
  });

  test('leaves out targets without traffic, and names a model once', () => {
    const split = assignment('iris', [
      { revision: 'r1', percent: 100 },
      { revision: 'r2', percent: 0 },
    ]);
    const table = buildRouteTable(7, [{ ...split, models: ['iris', 'iris'] }], [], now);
    expect(table.version).toBe(7);
    expect(table.services[0]?.targets.map(({ revision }) => revision)).toEqual(['r1']);
    expect(table.services[0]?.models).toEqual(['iris']);
  });
});

describe('buildRouteTable, for any assignments and reports', () => {
  const revision = fc.constantFrom('r1', 'r2', 'r3');
  const serviceName = fc.constantFrom('iris', 'tiny', 'big');
  const traffic = fc.uniqueArray(revision, { maxLength: 3 }).chain((revisions) =>
    fc
      .array(fc.integer({ min: 0, max: 100 }), { minLength: revisions.length, maxLength: revisions.length })
      .map((weights) => {
        const sum = weights.reduce((a, b) => a + b, 0);
        if (sum === 0) return [];
        return revisions.map((name, i) => ({ revision: name, percent: ((weights[i] ?? 0) * 100) / sum }));
      }),
  );
  const assignments = fc.uniqueArray(
    fc.tuple(serviceName, traffic).map(([name, shares]) => assignment(name, shares)),
    { selector: ({ name }) => name, maxLength: 3 },
  );
  const replicas = fc.array(
    fc
      .tuple(
        serviceName,
        revision,
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom<ReplicaReport['state'][]>(
          'Ready',
          'NotReady',
          'Starting',
          'CrashLoopBackOff',
          'Stopping',
        ),
      )
      .map(([name, of, port, state]) => replica(name, of, port, state)),
    { maxLength: 8 },
  );
  const reports = fc.uniqueArray(
    fc
      .tuple(fc.constantFrom('a', 'b', 'c'), replicas, fc.integer({ min: 0, max: 60_000 }))
      .map(([node, list, ago]) => heard(node, list, ago)),
    { selector: ({ report }) => report.node, maxLength: 3 },
  );

  test('the table is valid, and the shares of a service add up to 100 or there are none', () => {
    fc.assert(
      fc.property(assignments, reports, (given, said) => {
        const table = RouteTable.parse(buildRouteTable(1, given, said, now));
        for (const { targets } of table.services) {
          const sum = targets.reduce((total, { percent }) => total + percent, 0);
          expect(targets.length === 0 || Math.abs(sum - 100) < 1e-6).toBe(true);
          for (const { percent } of targets) expect(percent).toBeGreaterThan(0);
        }
      }),
    );
  });

  test('every endpoint belongs to a revision with traffic, was reported, and is listed once', () => {
    fc.assert(
      fc.property(assignments, reports, (given, said) => {
        const table = buildRouteTable(1, given, said, now);
        const addresses: string[] = [];
        for (const { name, targets } of table.services) {
          for (const target of targets) {
            for (const endpoint of target.endpoints) {
              expect(endpoint.revision).toBe(target.revision);
              const reported = said
                .flatMap(({ report }) => report.replicas)
                .filter((r) => r.name === name && r.revision === target.revision);
              expect(reported.map(({ address }) => address)).toContain(endpoint.address);
              addresses.push(endpoint.address);
            }
          }
        }
        expect(new Set(addresses).size).toBe(addresses.length);
      }),
    );
  });

  test('the order of assignments, reports and replicas makes no difference', () => {
    fc.assert(
      fc.property(assignments, reports, (given, said) => {
        const reversed = said.map((one) => ({
          ...one,
          report: { ...one.report, replicas: [...one.report.replicas].reverse() },
        }));
        const there = buildRouteTable(1, given, said, now);
        const back = buildRouteTable(1, [...given].reverse(), reversed.reverse(), now);
        expect(back).toEqual(there);
      }),
    );
  });
});
