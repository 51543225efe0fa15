import type { BatchForm, Joinable } from '../../domain/batcher/batch-form.ts';
import type { BatcherRoute } from '../../domain/batcher/batcher.schema.ts';

/** One request of a batch. */
export interface Member<P> {
  readonly passage: P;
  readonly request: Joinable;
  /** Its client left, it was answered, or it goes on by itself. */
  isOut: boolean;
}

/** Requests that wait for each other, and then for their common answer. */
export class Batch<P> {
  readonly key: string;
  readonly form: BatchForm;
  readonly settings: BatcherRoute;
  readonly members: Member<P>[] = [];
  rows = 0;
  isSent = false;
  timer: NodeJS.Timeout | undefined;
  /** Ends its request: nobody wants the answer any more, or it is late. */
  readonly stop = new AbortController();
  isLate = false;
  /** What was sent in its members' place. */
  fork: P | null = null;

  constructor(key: string, form: BatchForm, settings: BatcherRoute) {
    this.key = key;
    this.form = form;
    this.settings = settings;
  }

  add(passage: P, request: Joinable): void {
    this.members.push({ passage, request, isOut: false });
    this.rows += request.rows;
  }

  get isWanted(): boolean {
    return this.members.some(({ isOut }) => !isOut);
  }
}
