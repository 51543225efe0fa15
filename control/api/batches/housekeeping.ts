import type { Logger } from 'pino';
import type { Batches } from '../../store/batches.ts';
import type { BatchDesk } from './batch-desk.ts';
import type { FileBytes } from './file-store.ts';

/**
 * What nobody asks for: batches whose workflow was never started (this process was killed between the two) are started,
 * until Temporal has taken them all once; those whose workflow was terminated end when their time is over; files whose
 * time is over are removed.
 */
export interface HousekeepingDeps {
  readonly desk: BatchDesk;
  readonly store: Batches;
  readonly bytes: FileBytes;
  readonly log: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly everyMs: number;
}

export class Housekeeping {
  private readonly deps: HousekeepingDeps;
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | null = null;
  private isResumed = false;

  constructor(deps: HousekeepingDeps) {
    this.deps = deps;
  }

  start(): void {
    // A round that takes longer than the next one's time is the next one, too.
    const round = (): void => {
      this.running ??= this.round().finally(() => {
        this.running = null;
      });
    };
    round();
    this.timer = setInterval(round, this.deps.everyMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.running;
  }

  private async round(): Promise<void> {
    const { desk, store, bytes, log, now } = this.deps;
    try {
      if (!this.isResumed) await desk.resume();
      this.isResumed = true;
    } catch (err) {
      log.debug({ err }, 'batches cannot be taken up again yet');
    }
    try {
      await desk.endOverdue();
    } catch (err) {
      log.debug({ err }, 'batches that are overdue cannot be ended yet');
    }
    try {
      for (const id of await store.filesExpiredAt(Math.floor(now() / 1000))) {
        if (await store.removeFile(id)) await bytes.remove(id);
      }
    } catch (err) {
      log.warn({ err }, 'expired files could not be removed; they are tried again');
    }
  }
}
