import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Snapshot } from '../../activities/local/replica/supervisor.ts';

export interface AgentMetrics {
  readonly registry: Registry;
  readonly reported: (outcome: 'accepted' | 'failed') => void;
  readonly temporalConnected: (isConnected: boolean) => void;
}

/** `muster_agent_*`. States are read when they are scraped, so they cannot drift from what the agent knows. */
export function agentMetrics(read: () => Snapshot, transfers: () => number): AgentMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  new Gauge({
    name: 'muster_agent_replicas',
    help: 'Replicas on this node by state.',
    labelNames: ['namespace', 'name', 'revision', 'state'],
    registers,
    collect() {
      this.reset();
      for (const { namespace, name, revision, state } of read().replicas) {
        this.inc({ namespace, name, revision, state });
      }
    },
  });
  new Gauge({
    name: 'muster_agent_replica_restarts',
    help: 'Restarts of the replicas that are here now.',
    labelNames: ['namespace', 'name', 'revision', 'index'],
    registers,
    collect() {
      this.reset();
      for (const { namespace, name, revision, index, restarts } of read().replicas) {
        this.set({ namespace, name, revision, index: String(index) }, restarts);
      }
    },
  });
  new Gauge({
    name: 'muster_agent_transfers',
    help: 'Downloads and environments in the making.',
    registers,
    collect() {
      this.set(transfers());
    },
  });
  const reports = new Counter({
    name: 'muster_agent_reports_total',
    help: 'Reports to the control API by outcome.',
    labelNames: ['outcome'],
    registers,
  });
  const temporal = new Gauge({
    name: 'muster_agent_temporal_connected',
    help: '1 while the worker runs against a Temporal server.',
    registers,
  });
  return {
    registry,
    reported: (outcome) => {
      reports.inc({ outcome });
    },
    temporalConnected: (isConnected) => {
      temporal.set(isConnected ? 1 : 0);
    },
  };
}
