import { Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { ConnectionLike } from '@temporalio/client';
import { lifecycle } from '../../domain/inference-service/messages.ts';
import { ledgerNames } from '../../domain/ledger/messages.ts';

/** Makes the schedules of periodic workflows; those that are there are left as they are, paused ones too. */
export async function createSchedules(connection: ConnectionLike, namespace: string): Promise<void> {
  const client = new Client({ connection, namespace });
  const { scheduleId, workflowType, workflowId, everyMs } = ledgerNames;
  try {
    await client.schedule.create({
      scheduleId,
      spec: { intervals: [{ every: everyMs }] },
      action: {
        type: 'startWorkflow',
        workflowType,
        workflowId,
        taskQueue: lifecycle.taskQueue,
        args: [{}],
        workflowExecutionTimeout: '30 minutes',
      },
      // A settling that is missed is made up for by the next one.
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}
