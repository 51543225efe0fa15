import { Child, type ChildEvents, type ProcessSpec } from './child.ts';
import { rotateBySize } from './log-file.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { ProcessState } from './state.ts';

/**
 * Starts all processes at once (each waits for what it needs by itself), keeps them running and stops them in
 * order: the gateway first, so that it drains while its model servers still answer; Temporal last.
 */
const stopOrder: readonly (readonly string[])[] = [
  ['gateway'],
  ['agent'],
  ['worker', 'observer'],
  ['api'],
  ['temporal'],
];
const ROTATE_EVERY_MS = 30_000;

export interface SupervisorEvents extends Pick<ChildEvents, 'onChange' | 'onCrash'> {
  readonly onPortInUse: (name: string) => void;
}

export class Supervisor {
  private readonly children: Child[] = [];
  private readonly events: SupervisorEvents;
  private readonly rotation: NodeJS.Timeout;
  private isStopping = false;

  constructor(events: SupervisorEvents) {
    this.events = events;
    this.rotation = setInterval(() => {
      for (const child of this.children) rotateBySize(child.logFile);
    }, ROTATE_EVERY_MS);
    this.rotation.unref();
  }

  start(spec: ProcessSpec): void {
    if (this.isStopping) return;
    const child = new Child(spec, {
      onChange: this.events.onChange,
      onCrash: this.events.onCrash,
      onPortInUse: () => {
        this.events.onPortInUse(spec.name);
      },
    });
    this.children.push(child);
    child.start();
  }

  states(): readonly ProcessState[] {
    return this.children.map((child) => child.state());
  }

  identities(): readonly ProcessIdentity[] {
    return this.children.flatMap((child) => child.identities());
  }

  /** Stops all in order; who is not gone when the time is over is killed. */
  async stop(timeoutMs: number): Promise<void> {
    this.isStopping = true;
    clearInterval(this.rotation);
    const deadline = performance.now() + timeoutMs;
    const named = stopOrder.flat();
    const others = this.children.map((c) => c.name).filter((name) => !named.includes(name));
    const groups = [...stopOrder, others];
    for (const group of groups) {
      const grace = Math.max(0, deadline - performance.now());
      await Promise.all(this.children.filter((c) => group.includes(c.name)).map((c) => c.stop(grace)));
    }
  }

  /** Kills all at once. */
  kill(): void {
    this.isStopping = true;
    for (const child of this.children) child.kill();
  }
}
