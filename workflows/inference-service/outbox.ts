import { CancellationScope, condition, log } from '@temporalio/workflow';
import type {
  ControlActivities,
  EventRecord,
  Phase,
  RevisionRecord,
} from '../../domain/inference-service/messages.ts';
import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import { control } from './activities.ts';

type Line =
  | { readonly kind: 'event'; readonly record: EventRecord }
  | { readonly kind: 'revision'; readonly record: RevisionRecord };

const maxLines = 200;

/**
 * What the entity tells the control API about itself, sent in order by one coroutine beside the main loop, so that
 * a control API which is away never holds up a deployment: status changes that pile up meanwhile collapse into the
 * last one, events and history lines wait in a bounded queue.
 */
export class Outbox {
  private readonly lines: Line[] = [];
  private isDirty = false;
  private isSending = false;
  private isClosed = false;
  private readonly snapshot: () => { object: InferenceService; phase: Phase };

  constructor(snapshot: () => { object: InferenceService; phase: Phase }) {
    this.snapshot = snapshot;
  }

  statusChanged(): void {
    this.isDirty = true;
  }

  event(record: EventRecord): void {
    this.push({ kind: 'event', record });
  }

  revision(record: RevisionRecord): void {
    this.push({ kind: 'revision', record });
  }

  get isEmpty(): boolean {
    return !this.isDirty && !this.isSending && this.lines.length === 0;
  }

  /** Sends until closed. Never throws: what the control API refuses for good is logged and dropped. */
  async run(): Promise<void> {
    for (;;) {
      await condition(() => this.isDirty || this.lines.length > 0 || this.isClosed);
      if (this.isClosed) return;
      this.isSending = true;
      await this.sendOne();
      this.isSending = false;
    }
  }

  close(): void {
    this.isClosed = true;
  }

  private async sendOne(): Promise<void> {
    try {
      await CancellationScope.nonCancellable(async () => {
        if (this.isDirty) {
          this.isDirty = false;
          const published = this.snapshot();
          await control(`Publish status: ${published.phase}`).publishObject(published);
          return;
        }
        const line = this.lines.shift();
        if (line) await send(line);
      });
    } catch (error) {
      log.warn('the control API refused a report about this service', { error });
    }
  }

  /** The oldest line gives way when the control API was away for so long that the queue is full. */
  private push(line: Line): void {
    if (this.lines.length >= maxLines) this.lines.shift();
    this.lines.push(line);
  }
}

function send(line: Line): Promise<void> {
  const { kind, record } = line;
  if (kind === 'event') {
    const activities: Pick<ControlActivities, 'recordEvent'> = control(`Event: ${record.reason}`);
    return activities.recordEvent(record);
  }
  return control(`History: ${record.revision} is ${record.outcome}`).recordRevision(record);
}
