import type { HeardReport } from './build.ts';
import type { RouteAssignment } from './route-table.schema.ts';

/**
 * Why an assignment cannot be published as it is, or null. The shape is checked before.
 *
 * @returns a sentence for the sender
 */
export function assignmentFault(assignment: RouteAssignment): string | null {
  const { traffic } = assignment;
  if (new Set(traffic.map((share) => share.revision)).size !== traffic.length) {
    return 'traffic names a revision twice; give each revision one share';
  }
  const sum = traffic.reduce((total, share) => total + share.percent, 0);
  if (traffic.length > 0 && Math.abs(sum - 100) > 1e-6) {
    return `the shares of traffic add up to ${sum} percent; they must add up to 100, or there must be none`;
  }
  if (assignment.state === 'Serving' && traffic.length === 0) {
    return 'a service that is Serving needs traffic to at least one revision';
  }
  return null;
}

/** Revisions that an assignment sends traffic to, in its order. */
export function revisionsInTraffic(assignment: RouteAssignment): string[] {
  return assignment.traffic.filter((share) => share.percent > 0).map((share) => share.revision);
}

/**
 * Revisions in traffic that no node reports a ready replica of. A table with such a revision would send requests
 * nowhere, so the control API asks the workflow to wait.
 */
export function revisionsWithoutReadyReplica(
  assignment: RouteAssignment,
  reports: readonly HeardReport[],
): string[] {
  if (assignment.state !== 'Serving') return [];
  const ready = new Set(
    reports
      .flatMap(({ report }) => report.replicas)
      .filter(
        (replica) =>
          replica.state === 'Ready' &&
          replica.namespace === assignment.namespace &&
          replica.name === assignment.name,
      )
      .map((replica) => replica.revision),
  );
  return revisionsInTraffic(assignment).filter((revision) => !ready.has(revision));
}
