import type { Logger } from 'pino';
import writeFileAtomic from 'write-file-atomic';
import { MusterError } from '../../domain/errors.ts';
import type { DataFolder } from '../../domain/process/data-folder.ts';
import type { Settings } from '../../domain/process/settings.schema.ts';
import type { ProcessSpec } from './child.ts';
import { readModelServers, recordChildren } from './leftovers.ts';
import { describePortInUse } from './ports.ts';
import { wantedPorts } from './process-list.ts';
import { endAll } from './process-identity.ts';
import { Supervisor } from './supervisor.ts';
import { stateFile, type ProcessState, type UpState } from './state.ts';

/** How long all together may take to stop before they are killed. */
const STOP_TIMEOUT_MS = 30_000;
const PUBLISH_EVERY_MS = 100;
/** Reasons to stop that come within this time are one. */
const ONE_WISH_MS = 1000;

export interface ParentDeps {
  readonly settings: Settings;
  readonly folder: DataFolder;
  readonly detached: boolean;
  readonly now: Date;
  readonly log: Logger;
  readonly own: readonly ProcessSpec[];
  /** Finds the Temporal server, which may take a download; null: it is not ours to start. */
  readonly temporal: ((say: (message: string) => void) => Promise<ProcessSpec>) | null;
  readonly publish: (state: UpState) => void;
}

/**
 * The embedded parent at work: everything runs until it is told to stop or cannot start. The data folder is
 * prepared and locked, and the ports are known to be free, before this is made.
 */
export class Parent {
  private readonly deps: ParentDeps;
  private readonly supervisor: Supervisor;
  private temporalWait: ProcessState | null = null;
  private phase: UpState['phase'] = 'starting';
  private publishing: NodeJS.Timeout | undefined;
  private readonly outcome: Promise<MusterError | null>;
  private resolve: (outcome: MusterError | null) => void = () => undefined;
  private isStopping = false;
  private stopAskedAt = 0;

  constructor(deps: ParentDeps) {
    this.deps = deps;
    this.outcome = new Promise((resolve) => {
      this.resolve = resolve;
    });
    this.supervisor = new Supervisor({
      onChange: () => {
        this.changed();
      },
      onCrash: (message) => {
        deps.log.warn(message);
      },
      onPortInUse: (name) => {
        void this.fail(new MusterError('port_in_use', this.portMessage(name)));
      },
    });
  }

  /** @returns null when it was told to stop, else why it could not go on; nothing of it runs then. */
  async run(): Promise<MusterError | null> {
    for (const spec of this.deps.own) this.supervisor.start(spec);
    void this.startTemporal();
    return this.outcome;
  }

  /**
   * The first call stops in order, a later one kills. Several at once are one: a terminal that closes sends its
   * signal and ends the CLI, whose end is another reason to stop.
   */
  async stop(): Promise<void> {
    const now = performance.now();
    if (this.isStopping) {
      if (now - this.stopAskedAt > ONE_WISH_MS) this.supervisor.kill();
      return;
    }
    this.stopAskedAt = now;
    await this.end(null);
  }

  private async fail(error: MusterError): Promise<void> {
    this.deps.log.error({ code: error.code }, error.message);
    if (!this.isStopping) await this.end(error);
  }

  private async end(outcome: MusterError | null): Promise<void> {
    this.isStopping = true;
    this.phase = 'stopping';
    this.changed();
    await this.supervisor.stop(STOP_TIMEOUT_MS);
    // The agent ends its model servers; one that was killed could not.
    await endAll(readModelServers(this.deps.folder.agent), 2000);
    this.phase = 'stopped';
    this.publishNow();
    this.resolve(outcome);
  }

  private async startTemporal(): Promise<void> {
    if (this.deps.temporal === null) return;
    const say = (message: string) => {
      this.temporalWait = { name: 'temporal', phase: 'waiting', pid: null, restarts: 0, message };
      this.changed();
    };
    say('looking for a Temporal server');
    try {
      const spec = await this.deps.temporal(say);
      this.temporalWait = null;
      this.supervisor.start(spec);
    } catch (error) {
      const why =
        error instanceof MusterError ? error : new MusterError('internal', String(error), { cause: error });
      await this.fail(why);
    }
  }

  private changed(): void {
    // At once for the record of pids, a few times a second for people.
    recordChildren(this.deps.folder.run, this.supervisor.identities());
    this.publishing ??= setTimeout(() => {
      this.publishNow();
    }, PUBLISH_EVERY_MS);
  }

  private publishNow(): void {
    clearTimeout(this.publishing);
    this.publishing = undefined;
    const state = this.state();
    writeFileAtomic.sync(stateFile(this.deps.folder.run), `${JSON.stringify(state)}\n`, { mode: 0o600 });
    this.deps.publish(state);
  }

  private state(): UpState {
    const { settings, detached, now } = this.deps;
    const started = this.supervisor.states();
    const processes = this.temporalWait === null ? started : [this.temporalWait, ...started];
    const isUp = processes.every((p) => p.phase === 'running');
    if (this.phase === 'starting' && isUp) this.phase = 'ready';
    return {
      pid: process.pid,
      startedAt: now.toISOString(),
      phase: this.phase,
      processes,
      endpoints: {
        gateway: settings.gatewayUrl,
        api: settings.apiUrl,
        temporal: settings.temporalAddress,
        temporalUi: settings.temporalIsExternal ? null : `http://127.0.0.1:${settings.temporalUiPort}`,
      },
      dataDir: settings.dataDir,
      detached,
    };
  }

  private portMessage(name: string): string {
    const { settings } = this.deps;
    const wanted = wantedPorts(settings).find((w) => w.process.toLowerCase().endsWith(name));
    return wanted === undefined
      ? `A port that the ${name} needs is in use.`
      : describePortInUse(settings.host, wanted);
  }
}
