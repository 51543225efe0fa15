import type { Logger } from 'pino';
import { Observation } from '../../domain/control/internal-api.schema.ts';
import { blank, confirm, look } from '../../domain/inference-service/observe.ts';
import type { Memory, Wake } from '../../domain/inference-service/observe.ts';
import { pause } from '../retry.ts';
import type { Entities } from './entities.ts';

export interface ObserverDeps {
  /** The control API's observations, one JSON text a line, until the stream breaks. */
  readonly lines: (signal: AbortSignal) => AsyncIterable<string>;
  readonly entities: Entities;
  readonly log: Logger;
  /** A clock that only grows, in milliseconds. */
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** How often to look again without news: a change must last before it is told. */
  readonly tickMs?: number;
}

const firstPauseMs = 200;
const maxPauseMs = 10_000;

/**
 * Watches what nodes report and wakes the entities that must know. It holds the newest observation and one memory
 * entry a revision; with Temporal away that is also all that waits to be sent, however long it takes.
 */
export class Observer {
  private readonly deps: ObserverDeps;
  private memory: Memory = blank;
  private newest: Observation | null = null;
  private isSending = false;
  private notBeforeMs = 0;
  private failures = 0;

  constructor(deps: ObserverDeps) {
    this.deps = deps;
  }

  /** Runs until the signal is aborted. */
  async run(): Promise<void> {
    const { signal, tickMs = 500 } = this.deps;
    const ticks = setInterval(() => {
      void this.tick();
    }, tickMs);
    try {
      await this.follow();
    } finally {
      clearInterval(ticks);
      while (this.isSending && !signal.aborted) await pause(10, signal);
    }
  }

  private async follow(): Promise<void> {
    const { lines, log, signal } = this.deps;
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        for await (const line of lines(signal)) {
          if (failures > 0) log.info('observations arrive again');
          failures = 0;
          this.newest = Observation.parse(JSON.parse(line));
          void this.tick();
        }
        if (!signal.aborted) throw new Error('the stream of observations ended');
      } catch (err) {
        if (signal.aborted) return;
        if (failures % 20 === 0) log.warn({ err }, 'no observations; trying again');
        // What was seen last is of the past by the time the stream is back; it comes whole with the first line.
        this.newest = null;
        await pause(Math.min(firstPauseMs * 2 ** Math.min(failures, 10), maxPauseMs), signal);
      }
    }
  }

  /** Looks at the newest observation and sends what is due; one at a time, so that facts arrive in order. */
  private async tick(): Promise<void> {
    const { now, signal } = this.deps;
    if (this.newest === null || this.isSending || signal.aborted) return;
    const { memory, wakes } = look(this.memory, this.newest, now());
    this.memory = memory;
    if (wakes.length === 0 || now() < this.notBeforeMs) return;
    this.isSending = true;
    try {
      for (const wake of wakes) await this.send(wake);
    } finally {
      this.isSending = false;
    }
  }

  private async send(wake: Wake): Promise<void> {
    const { entities, log, now, signal } = this.deps;
    if (signal.aborted || now() < this.notBeforeMs) return;
    try {
      await entities.wake(wake);
      this.memory = confirm(this.memory, wake, now());
      this.failures = 0;
      log.info({ wake: wake.kind, of: wake.key }, 'entity woken');
    } catch (err) {
      if (this.failures % 20 === 0)
        log.warn({ err, of: wake.key }, 'an entity could not be woken; later again');
      this.notBeforeMs = now() + Math.min(firstPauseMs * 2 ** Math.min(this.failures, 10), maxPauseMs);
      this.failures += 1;
    }
  }
}
