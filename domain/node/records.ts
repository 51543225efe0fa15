import type { Workload } from '../workload/workload.ts';
import type { Replica } from './replica.ts';

/**
 * The agent's memory on disk: one JSON file a revision with what is wanted and what was started. It is what lets
 * the agent run replicas with Temporal and the control API down, and find its servers again after kill -9. The embedded
 * parent reads it, too, to end the servers of an agent that cannot.
 */
export interface ProcessRecord {
  /** Null between the decision to start and the start: a kill in between is found by the arguments. */
  readonly pid: number | null;
  readonly identity: string | null;
  readonly port: number;
  /** For gRPC, where the server was given one. */
  readonly grpcPort?: number;
  readonly argv: readonly string[];
}

export interface ReplicaRecord {
  readonly replica: Replica;
  readonly process: ProcessRecord | null;
}

export interface AgentRecord {
  readonly version: 1;
  readonly workload: Workload;
  readonly modelDir: string;
  /** Folders of programs of its environment. */
  readonly bin: readonly string[];
  /** False once it was removed and its servers are still ending. */
  readonly isWanted: boolean;
  readonly replicas: readonly ReplicaRecord[];
}
