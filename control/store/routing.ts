import type { NodeReport } from '../../domain/node/report.schema.ts';
import type { RouteAssignment } from '../../domain/route-table/route-table.schema.ts';
import type { Database } from './database.ts';

export interface RouteVersion {
  readonly version: number;
  /** Hash of the table's content without its version: equal content after a restart keeps its version. */
  readonly contentHash: string;
}

export interface Routing {
  assignments(): Promise<RouteAssignment[]>;
  putAssignment(assignment: RouteAssignment): Promise<void>;
  removeAssignment(namespace: string, name: string): Promise<void>;
  version(): Promise<RouteVersion>;
  /** Never goes back. */
  saveVersion(version: RouteVersion): Promise<void>;
  /** The last report of each node, so that a restarted API has endpoints at once. */
  reports(): Promise<NodeReport[]>;
  saveReport(report: NodeReport): Promise<void>;
}

export function routingIn(database: Database): Routing {
  return {
    async assignments() {
      const rows = await database.query('SELECT assignment FROM route_assignments ORDER BY namespace, name');
      return rows.map((row) => row['assignment'] as RouteAssignment);
    },
    async putAssignment(assignment) {
      await database.query(
        `INSERT INTO route_assignments (namespace, name, assignment) VALUES ($1, $2, $3)
         ON CONFLICT (namespace, name) DO UPDATE SET assignment = excluded.assignment`,
        [assignment.namespace, assignment.name, JSON.stringify(assignment)],
      );
    },
    async removeAssignment(namespace, name) {
      await database.query('DELETE FROM route_assignments WHERE namespace = $1 AND name = $2', [
        namespace,
        name,
      ]);
    },
    async version() {
      const rows = await database.query('SELECT version, content_hash FROM route_version');
      const { version, content_hash: contentHash } = rows[0] ?? {};
      return {
        version: Number(version ?? 0),
        contentHash: typeof contentHash === 'string' ? contentHash : '',
      };
    },
    async saveVersion({ version, contentHash }) {
      await database.query('UPDATE route_version SET version = $1, content_hash = $2 WHERE version <= $1', [
        version,
        contentHash,
      ]);
    },
    async reports() {
      const rows = await database.query('SELECT report FROM node_reports ORDER BY node');
      return rows.map((row) => row['report'] as NodeReport);
    },
    async saveReport(report) {
      await database.query(
        `INSERT INTO node_reports (node, report) VALUES ($1, $2)
         ON CONFLICT (node) DO UPDATE SET report = excluded.report`,
        [report.node, JSON.stringify(report)],
      );
    },
  };
}
