import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ControlClient } from './control-client.ts';
import type { TableStore } from './table-store.ts';

/**
 * Follows the control API's route stream for the life of the gateway: newline-delimited JSON, a whole table a
 * line, blank lines as signs of life. Silence or an end means: connect again, after a growing and jittered wait.
 * Versions may only go back at the begin of a stream, since a restarted control API counts anew.
 */
export interface TableStreamOptions {
  readonly gateway: string;
  /** Silence after which a stream counts as dead: three signs of life missed. */
  readonly silenceMsMax: number;
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  /** A longer line cannot be a table: the stream is broken off. */
  readonly lineBytesMax: number;
}

export const defaultStreamOptions: Omit<TableStreamOptions, 'gateway'> = {
  silenceMsMax: 15_000,
  backoffMsMin: 100,
  backoffMsMax: 3_000,
  lineBytesMax: 64 * 1024 * 1024,
};

export class TableStream {
  private readonly client: ControlClient;
  private readonly store: TableStore;
  private readonly options: TableStreamOptions;
  private readonly logger: Logger;
  private readonly stopping = new AbortController();
  private running: Promise<void> | null = null;

  constructor(client: ControlClient, store: TableStore, options: TableStreamOptions, logger: Logger) {
    this.client = client;
    this.store = store;
    this.options = options;
    this.logger = logger;
  }

  start(): void {
    this.running ??= this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    let failures = 0;
    const isStopping = (): boolean => this.stopping.signal.aborted;
    while (!isStopping()) {
      const why = await this.follow(() => {
        failures = 0;
      });
      if (isStopping()) return;
      // Once at warn, then at debug: with the control API down for a day there is nothing new to say.
      this.logger[failures === 0 ? 'warn' : 'debug'](
        { why },
        'no route stream; serving from the table at hand',
      );
      const { backoffMsMin, backoffMsMax } = this.options;
      const wait = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(failures, 10));
      failures += 1;
      await sleep(wait * (0.5 + Math.random() / 2), undefined, { signal: this.stopping.signal }).catch(
        () => undefined,
      );
    }
  }

  /** @returns why the stream ended */
  private async follow(onTable: () => void): Promise<string> {
    const { gateway, silenceMsMax } = this.options;
    const ending = new AbortController();
    const signal = AbortSignal.any([this.stopping.signal, ending.signal]);
    let watchdog: NodeJS.Timeout | undefined;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => {
        ending.abort(new Error(`nothing came for ${silenceMsMax} ms`));
      }, silenceMsMax);
    };
    try {
      const path = `/internal/routes/stream?gateway=${encodeURIComponent(gateway)}`;
      const { body } = await this.client.get(path, { bodyTimeoutMs: 0, signal });
      alive();
      const lines = new Lines(this.options.lineBytesMax);
      let version = -1;
      for await (const chunk of body) {
        alive();
        for (const line of lines.push(chunk as Buffer)) {
          const applied = this.applyLine(line, version);
          if (applied === null) continue;
          version = applied;
          onTable();
        }
      }
      return 'the control API ended the stream';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    } finally {
      clearTimeout(watchdog);
    }
  }

  private applyLine(line: string, versionMin: number): number | null {
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return this.store.refuse('a line of the route stream is not JSON');
    }
    return this.store.apply(value, versionMin);
  }
}

/** Cuts bytes into lines; blank ones are dropped, and characters may be split between chunks. */
export class Lines {
  private readonly bytesMax: number;
  private parts: Buffer[] = [];
  private held = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** @throws when a line grows beyond its bound */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...this.parts, chunk.subarray(from, end)])
        .toString('utf8')
        .trim();
      this.parts = [];
      this.held = 0;
      from = end + 1;
      if (line !== '') lines.push(line);
    }
    const rest = chunk.subarray(from);
    this.held += rest.length;
    if (this.held > this.bytesMax)
      throw new Error(`a line of the route stream is longer than ${this.bytesMax} bytes`);
    if (rest.length > 0) this.parts.push(rest);
    return lines;
  }
}
