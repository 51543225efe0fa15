import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, readFileSync, rmSync } from 'node:fs';
import { appendLog, openLog } from './log-file.ts';
import { endAll, identify, type ProcessIdentity } from './process-identity.ts';
import type { ProcessPhase, ProcessState } from './state.ts';

/** What the parent needs to know to run a process. */
export interface ProcessSpec {
  readonly name: string;
  readonly command: readonly string[];
  /** node: a pipe on descriptor 3, see leash.ts; shell: a pipe as standard input, see shell-leash.ts. */
  readonly leash: 'node' | 'shell';
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly logFile: string;
  /** File in which a shell leash notes the pid of its program. */
  readonly pidFile?: string;
  /** Asked until it says true; then the process counts as running. */
  readonly isReady: (livedMs: number) => Promise<boolean>;
}

export interface ChildEvents {
  /** Anything that a person or a later start wants to know has changed. */
  readonly onChange: () => void;
  /** It ended by itself and will be started again; said for the first of several ends in a row. */
  readonly onCrash: (message: string) => void;
  /** It ended with exit code 3 before it was ever ready: its port is taken, trying again is of no use. */
  readonly onPortInUse: () => void;
}

export const EXIT_PORT_IN_USE = 3;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 10_000;
/** Who ran this long starts again at once the next time. */
const STEADY_MS = 30_000;
const PROBE_MS = 150;

/** One process of the stack: started, watched, started again when it ends, stopped at the end. */
export class Child {
  private readonly spec: ProcessSpec;
  private readonly events: ChildEvents;
  private process: ChildProcess | undefined;
  private identity: ProcessIdentity | null = null;
  private program: ProcessIdentity | null = null;
  private phase: ProcessPhase = 'waiting';
  private message = '';
  private restarts = 0;
  private failures = 0;
  private wasReady = false;
  private timer: NodeJS.Timeout | undefined;
  private ended: Promise<void> = Promise.resolve();

  constructor(spec: ProcessSpec, events: ChildEvents) {
    this.spec = spec;
    this.events = events;
  }

  get name(): string {
    return this.spec.name;
  }

  get logFile(): string {
    return this.spec.logFile;
  }

  state(): ProcessState {
    const { phase, restarts, message } = this;
    return { name: this.name, phase, pid: this.identity?.pid ?? null, restarts, message };
  }

  /** The pids that must be gone when it is stopped, for the record on disk. */
  identities(): readonly ProcessIdentity[] {
    return [this.identity, this.program].filter((i) => i !== null);
  }

  start(): void {
    this.launch(openLog(this.spec.logFile));
  }

  /** SIGTERM, SIGKILL after `graceMs`; returns when it is gone. */
  async stop(graceMs: number): Promise<void> {
    clearTimeout(this.timer);
    if (this.phase === 'stopped') return;
    const running = this.process;
    this.set(running === undefined ? 'stopped' : 'stopping', '');
    if (running === undefined) return;
    running.kill('SIGTERM');
    const kill = setTimeout(() => {
      this.kill();
    }, graceMs);
    await this.ended;
    clearTimeout(kill);
  }

  /** At once. */
  kill(): void {
    clearTimeout(this.timer);
    this.process?.kill('SIGKILL');
    for (const { pid } of this.identities()) killQuietly(pid);
  }

  private launch(log: number): void {
    const [program = '', ...args] = this.spec.command;
    if (this.spec.pidFile !== undefined) rmSync(this.spec.pidFile, { force: true });
    const leash = this.spec.leash === 'node' ? { MUSTER_LEASH: String(process.pid) } : {};
    // Its own session: a Ctrl-C at the terminal reaches the parent alone, which stops all in order.
    const child = spawn(program, args, {
      cwd: this.spec.cwd,
      env: { ...this.spec.env, ...leash },
      detached: true,
      stdio: this.spec.leash === 'node' ? ['ignore', log, log, 'pipe'] : ['pipe', log, log],
    });
    closeSync(log);
    for (const pipe of child.stdio) pipe?.on('error', () => undefined);
    this.process = child;
    this.program = null;
    this.identity = child.pid === undefined ? null : identify(child.pid);
    this.set('starting', this.restarts === 0 ? '' : this.message);
    const startedAt = performance.now();
    this.ended = new Promise((resolve) => {
      let isOver = false;
      const over = (how: string, code: number | null) => {
        if (isOver) return;
        isOver = true;
        void this.afterEnd(how, code, performance.now() - startedAt).finally(resolve);
      };
      child.once('exit', (code, signal) => {
        over(signal ?? `exit code ${code ?? '?'}`, code);
      });
      child.once('error', (error) => {
        over(error.message, null);
      });
    });
    void this.probe(child);
  }

  private async afterEnd(how: string, code: number | null, livedMs: number): Promise<void> {
    this.process = undefined;
    this.identity = null;
    this.noteProgram();
    // A killed shell leash may have left its program behind, with the port in its hands.
    if (this.program !== null) await endAll([this.program], 2000);
    this.program = null;
    if (this.phase === 'stopping' || this.phase === 'stopped') {
      this.set('stopped', '');
      return;
    }
    if (code === EXIT_PORT_IN_USE && !this.wasReady) {
      this.set('stopped', 'its port is in use');
      this.events.onPortInUse();
      return;
    }
    this.failures = livedMs >= STEADY_MS ? 0 : this.failures + 1;
    this.restarts += 1;
    this.set('restarting', `ended (${how})`);
    if (this.failures <= 1) {
      this.events.onCrash(`${this.name} ended (${how}) and is started again; its log is ${this.logFile}`);
    }
    const delay = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.max(0, this.failures - 1));
    this.timer = setTimeout(() => {
      this.launch(appendLog(this.spec.logFile));
    }, delay);
  }

  private async probe(child: ChildProcess): Promise<void> {
    const startedAt = performance.now();
    while (this.process === child && this.phase === 'starting') {
      const ready = await this.spec.isReady(performance.now() - startedAt).catch(() => false);
      this.noteProgram();
      if (ready && this.isStill(child, 'starting')) {
        this.wasReady = true;
        this.set('running', '');
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
    }
  }

  private isStill(child: ChildProcess, phase: ProcessPhase): boolean {
    return this.process === child && this.phase === phase;
  }

  private noteProgram(): void {
    if (this.spec.pidFile === undefined || this.program !== null) return;
    try {
      this.program = identify(Number(readFileSync(this.spec.pidFile, 'utf8')));
      if (this.program !== null) this.events.onChange();
    } catch {
      // not written yet
    }
  }

  private set(phase: ProcessPhase, message: string): void {
    this.phase = phase;
    this.message = message;
    this.events.onChange();
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // gone already
  }
}
