import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { ControlActivities } from '../../domain/inference-service/messages.ts';
import { agentTaskQueue } from '../../domain/node/messages.ts';
import type { AgentActivities } from '../../domain/node/messages.ts';

/**
 * How the entity calls its activities: every timeout and retry policy in one place. None has a scheduleToClose or
 * scheduleToStart timeout: when the control API or a node's agent is away, work waits in its queue and goes on
 * when it returns, however long that takes. What bounds an attempt is startToClose, the heartbeat, and for the
 * agent's work the number of tries.
 */
const controlRetry = { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '10s' } as const;

/** Short calls of the control API: tried until they succeed, unless the failure is one that stays. */
export function control(summary: string): ControlActivities {
  return proxyActivities<ControlActivities>({
    startToCloseTimeout: '15s',
    retry: controlRetry,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    summary,
  });
}

/** Calls that wait for something and heartbeat meanwhile. */
export function waiting(summary: string, timeoutMs: number): ControlActivities {
  return proxyActivities<ControlActivities>({
    startToCloseTimeout: timeoutMs + 30_000,
    heartbeatTimeout: '30s',
    retry: controlRetry,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    summary,
  });
}

/** Downloads and environments: long, resumable, given up after some tries of which each backs off further. */
export function preparing(node: string, summary: string): AgentActivities {
  return proxyActivities<AgentActivities>({
    taskQueue: agentTaskQueue(node),
    startToCloseTimeout: '1h',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '5s', backoffCoefficient: 2, maximumInterval: '5m', maximumAttempts: 6 },
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    summary,
  });
}

/**
 * Starts servers. A cancelled attempt waits for the call's end, so that the compensation which follows stops all
 * that the call had started.
 */
export function applying(node: string, summary: string): AgentActivities {
  return proxyActivities<AgentActivities>({
    taskQueue: agentTaskQueue(node),
    startToCloseTimeout: '30s',
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 10 },
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    summary,
  });
}

/** Waits for servers to be ready; the agent itself says when they will not be. */
export function starting(node: string, summary: string, timeoutMs: number): AgentActivities {
  return proxyActivities<AgentActivities>({
    taskQueue: agentTaskQueue(node),
    startToCloseTimeout: timeoutMs + 60_000,
    heartbeatTimeout: '30s',
    retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 10 },
    cancellationType: ActivityCancellationType.TRY_CANCEL,
    summary,
  });
}

/** Stops servers: tried until it succeeds, because nothing may be left running that no one knows of. */
export function removing(node: string, summary: string, graceMs: number): AgentActivities {
  return proxyActivities<AgentActivities>({
    taskQueue: agentTaskQueue(node),
    startToCloseTimeout: graceMs + 60_000,
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
    summary,
  });
}
