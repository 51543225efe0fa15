import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { request, type Dispatcher } from 'undici';
import type { NodeReport } from '../../domain/node/report.schema.ts';
import { Changes } from '../../activities/local/changes.ts';

export interface ReporterDeps {
  readonly apiUrl: string;
  readonly node: string;
  /** File with the bearer token of Muster's own processes; it may be made after the agent started. */
  readonly tokenFile: string;
  readonly dispatcher: Dispatcher;
  /** The present report, and the version of what it shows. */
  readonly read: () => { readonly report: NodeReport; readonly version: number };
  readonly logger: Logger;
  readonly onOutcome: (outcome: 'accepted' | 'failed') => void;
}

const timing = {
  coalesceMs: 50,
  everyMs: 5_000,
  timeoutMs: 5_000,
  firstRetryMs: 200,
  maxRetryMs: 5_000,
} as const;

/**
 * Tells the control API all that this node runs: soon after each change, and every few seconds. One request at a
 * time, always with the newest state, so that nothing queues up while the control API is down.
 */
export class Reporter {
  /** Notified when a report was accepted. */
  readonly accepted = new Changes();
  acceptedVersion = 0;
  readonly #deps: ReporterDeps;
  readonly #closing = new AbortController();
  #wake: () => void = () => undefined;
  #isDue = true;
  #failures = 0;
  #loop: Promise<void> = Promise.resolve();

  constructor(deps: ReporterDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Something changed: report soon. */
  poke(): void {
    this.#isDue = true;
    // While the control API is down its retries set the pace.
    if (this.#failures === 0) this.#wake();
  }

  /** Sends a last report, so that the control API learns what was stopped, and ends. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake();
    await this.#loop;
    await this.#send().catch(() => undefined);
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      this.#isDue = false;
      try {
        await this.#send();
        this.#failures = 0;
        this.#deps.onOutcome('accepted');
      } catch (error) {
        this.#failures += 1;
        this.#deps.onOutcome('failed');
        const level = this.#failures === 1 ? 'warn' : 'debug';
        this.#deps.logger[level]({ err: error, failures: this.#failures }, 'report was not accepted');
      }
      await this.#pause();
    }
  }

  async #send(): Promise<void> {
    const { report, version } = this.#deps.read();
    const token = (await readFile(this.#deps.tokenFile, 'utf8')).trim();
    const { statusCode, body } = await request(
      `${this.#deps.apiUrl}/internal/nodes/${encodeURIComponent(this.#deps.node)}/report`,
      {
        method: 'PUT',
        dispatcher: this.#deps.dispatcher,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(report),
        signal: AbortSignal.timeout(timing.timeoutMs),
      },
    );
    await body.dump();
    if (statusCode >= 300) throw new Error(`The control API answered ${statusCode}.`);
    this.acceptedVersion = Math.max(this.acceptedVersion, version);
    this.accepted.notify();
  }

  /** Until the next report is due: 50 ms after a change, 5 s without one, longer and longer after failures. */
  async #pause(): Promise<void> {
    if (this.#failures > 0) {
      await this.#sleep(
        Math.min(timing.maxRetryMs, timing.firstRetryMs * 2 ** Math.min(this.#failures - 1, 10)),
      );
      return;
    }
    if (!this.#isDue) await this.#sleep(timing.everyMs);
    if (this.#isDue) await this.#sleep(timing.coalesceMs, false);
  }

  #sleep(ms: number, canWake = true): Promise<void> {
    if (this.#closing.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#wake = canWake
        ? end
        : () => {
            if (this.#closing.signal.aborted) end();
          };
    });
  }
}
