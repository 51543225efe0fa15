import { ApplicationFailure } from '@temporalio/common';
import { z } from 'zod';
import { GatewayList, NodeReport, RouteVersion } from '../../domain/control/internal-api.schema.ts';
import type { ControlActivities, Resolution, Site } from '../../domain/inference-service/messages.ts';
import type { RevisionKey } from '../../domain/workload/workload.ts';
import { MusterError } from '../../domain/errors.ts';
import { RuntimeLists } from '../../domain/serving-runtime/serving-runtime.schema.ts';
import { resolve } from '../../domain/workload/resolve.ts';
import { withAddresses, withHost } from './addresses.ts';
import type { ControlApi } from './api.ts';
import { withFailures } from './failures.ts';
import { poll } from './waits.ts';

export interface ControlActivityDeps {
  readonly api: Pick<ControlApi, 'call'>;
  /** The node to use when none is heard of. */
  readonly node: string;
  readonly site: Site;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const Nothing = z.unknown();
const Nodes = z.object({ nodes: z.array(NodeReport) });
/** A node whose last report is older counts as silent. */
const nodeSilentMs = 15_000;
const gatewayPollMs = 250;
const nodePollMs = 1_000;
const foreverMs = Number.MAX_SAFE_INTEGER;

/** What the entity asks of the control API, and the pure rule that chooses a runtime from what the store has. */
export function controlActivities(deps: ControlActivityDeps): ControlActivities {
  const { api, site } = deps;
  const activities: ControlActivities = {
    async resolveRuntime({ object, generation }) {
      const { namespace = 'default' } = object.metadata;
      const [lists, nodes] = await Promise.all([
        api.call('GET', `/internal/runtimes?namespace=${encodeURIComponent(namespace)}`, RuntimeLists),
        liveNodes(deps),
      ]);
      const node = nodes.includes(deps.node) ? deps.node : (nodes[0] ?? deps.node);
      const resolved = resolve(object, lists, generation, node);
      if (!resolved.ok) {
        const { code, reason, message, error } = resolved;
        throw ApplicationFailure.nonRetryable(error, code, { reason, message });
      }
      const resolution: Resolution = { ...resolved.resolution, nodeIsLive: nodes.includes(node), site };
      return resolution;
    },

    async awaitNode({ node }) {
      const isLive = async () => ((await liveNodes(deps)).includes(node) ? true : null);
      await poll(isLive, { everyMs: nodePollMs, timeoutMs: foreverMs });
    },

    async publishObject({ object, phase }) {
      const { namespace = 'default', name } = object.metadata;
      const body = { object: withAddresses(object, site), phase };
      try {
        await api.call('PUT', path('inferenceservices', namespace, name), Nothing, body);
      } catch (error) {
        // A newer generation is stored: this status is of the past, and its successor is on the way.
        if (!(error instanceof MusterError) || error.code !== 'conflict') throw error;
      }
    },

    async forgetObject({ namespace, name }) {
      await api.call('DELETE', path('inferenceservices', namespace, name), Nothing);
    },

    async publishRoutes(assignment) {
      const { namespace, name } = assignment;
      return api.call('PUT', path('routes', namespace, name), RouteVersion, withHost(assignment, site));
    },

    async withdrawRoutes({ namespace, name }) {
      return api.call('DELETE', path('routes', namespace, name), RouteVersion);
    },

    async awaitGateways({ version, timeoutMs }) {
      let late: string[] = [];
      const look = async () => {
        const { gateways, isSettled } = await api.call('GET', '/internal/gateways', GatewayList);
        late = gateways.filter((gateway) => gateway.version < version).map(({ gateway }) => gateway);
        return isSettled && late.length === 0 ? true : null;
      };
      await poll(look, { everyMs: gatewayPollMs, timeoutMs });
      return { late };
    },

    async awaitDrained({ addresses, version = 0, revision, timeoutMs }) {
      const all = new Set([...addresses, ...(revision ? await addressesOf(deps, revision) : [])]);
      let remaining = 0;
      const look = async () => {
        const { gateways, isSettled } = await api.call('GET', '/internal/gateways', GatewayList);
        remaining = gateways
          .flatMap(({ draining }) => Object.entries(draining))
          .reduce((sum, [address, requests]) => (all.has(address) ? sum + requests : sum), 0);
        const haveReported = gateways.every((gateway) => gateway.version >= version);
        return isSettled && haveReported && remaining === 0 ? true : null;
      };
      await poll(look, { everyMs: gatewayPollMs, timeoutMs });
      return { remaining };
    },

    async recordEvent(event) {
      await api.call('POST', '/internal/events', Nothing, event);
    },

    async recordRevision(record) {
      const { namespace, name, revision } = record;
      await api.call('PUT', path('revisions', namespace, name, revision), Nothing, record);
    },
  };
  return withFailures(activities);
}

function path(kind: string, ...names: readonly string[]): string {
  return `/internal/${kind}/${names.map(encodeURIComponent).join('/')}`;
}

/** Names of the nodes heard of lately, sorted. */
async function liveNodes({ api, now }: ControlActivityDeps): Promise<string[]> {
  const { nodes } = await api.call('GET', '/internal/nodes', Nodes);
  return nodes
    .filter(({ at }) => Math.abs(now() - Date.parse(at)) < nodeSilentMs)
    .map(({ node }) => node)
    .sort();
}

/** A server that was started again since its revision came up has another address than the entity remembers. */
async function addressesOf({ api }: ControlActivityDeps, key: RevisionKey): Promise<string[]> {
  const { nodes } = await api.call('GET', '/internal/nodes', Nodes);
  return nodes
    .flatMap(({ replicas }) => replicas)
    .filter((replica) => replica.namespace === key.namespace && replica.name === key.name)
    .filter((replica) => replica.revision === key.revision)
    .map(({ address }) => address);
}
