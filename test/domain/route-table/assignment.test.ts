import { describe, expect, test } from '@jest/globals';
import {
  assignmentFault,
  revisionsInTraffic,
  revisionsWithoutReadyReplica,
} from '../../../domain/route-table/assignment.ts';
import { assignment, nodeReport, replica } from '../../fixtures/control/manifests.ts';

describe('assignmentFault', () => {
  const half = (revision: string) => ({ revision, percent: 50 });
  test.each([
    ['one revision', assignment('iris', [{ revision: 'r1', percent: 100 }]), null],
    ['two halves', assignment('iris', [half('r1'), half('r2')]), null],
    ['nothing, while loading', assignment('iris', [], 'Loading'), null],
    ['a half alone', assignment('iris', [half('r1')]), /add up to 50 percent/],
    ['a revision twice', assignment('iris', [half('r1'), half('r1')]), /names a revision twice/],
    ['nothing, while serving', assignment('iris', []), /needs traffic/],
  ])('%s', (_case, given, expected) => {
    const fault = assignmentFault(given);
    if (expected === null) expect(fault).toBeNull();
    else expect(fault).toMatch(expected);
  });

  test('thirds that do not add up exactly are taken', () => {
    const third = (revision: string) => ({ revision, percent: 100 / 3 });
    expect(assignmentFault(assignment('iris', [third('a'), third('b'), third('c')]))).toBeNull();
  });
});

describe('revisionsWithoutReadyReplica', () => {
  const both = assignment('iris', [
    { revision: 'r1', percent: 90 },
    { revision: 'r2', percent: 10 },
    { revision: 'r3', percent: 0 },
  ]);
  const heard = (replicas: Parameters<typeof nodeReport>[1]) => [
    { report: nodeReport('a', replicas), heardAt: 0 },
  ];

  test('names the revisions in traffic that have none', () => {
    expect(revisionsInTraffic(both)).toEqual(['r1', 'r2']);
    expect(revisionsWithoutReadyReplica(both, heard([replica('iris', 'r1', 1)]))).toEqual(['r2']);
  });

  test('a starting replica, or one of another service, is none', () => {
    const replicas = [
      replica('iris', 'r1', 1, 'Starting'),
      replica('tiny', 'r1', 2),
      replica('iris', 'r2', 3),
    ];
    expect(revisionsWithoutReadyReplica(both, heard(replicas))).toEqual(['r1']);
  });

  test('does not matter for a service that does not serve', () => {
    expect(revisionsWithoutReadyReplica({ ...both, state: 'Failed' }, [])).toEqual([]);
  });
});
