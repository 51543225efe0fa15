import { musterRoot } from '../../up/process-list.ts';
import type { UpState } from '../../up/state.ts';
import { createApi, type Api } from '../api.ts';
import type { Context } from '../context.ts';
import { CliError, exitCodeOf } from '../exit-codes.ts';
import { locate } from '../locate.ts';
import { createDisplay, type Picture } from '../up/display.ts';
import { nextSteps } from '../up/next-steps.ts';
import { startParent, type ParentProcess } from '../up/parent-process.ts';
import { deploySamples, samplesFolder, samplesMemory, type SampleState } from '../up/samples.ts';

export interface UpOptions {
  readonly detach?: boolean;
  readonly samples?: boolean;
}

const SAMPLES_TIMEOUT_MS = 600_000;

/** `muster up [--detach] [--samples]`: starts the embedded stack, shows how it comes up, says what to try next. */
export async function up(context: Context, options: UpOptions): Promise<void> {
  const isDetached = options.detach === true;
  const display = createDisplay(context.io.stdout);
  const stopped = new AbortController();
  const watcher = new Watcher((picture) => {
    display.show(picture);
  });
  const parent = startParent(context.env, context.settings.dataDir, isDetached, (state) => {
    watcher.onState(state);
  });
  void parent.ended.then(() => {
    stopped.abort();
  });
  const release = stopOnSignals(parent, () => {
    stopped.abort();
    display.end();
    context.note('stopping…');
  });
  try {
    const samples = await Promise.race([
      comeUp(context, options, watcher, stopped.signal),
      parent.ended.then(() => null),
    ]);
    display.end();
    if (samples !== null && !stopped.signal.aborted) {
      tellNextSteps(context, watcher, samples, isDetached);
      if (isDetached) {
        await parent.detach();
        return;
      }
      watcher.afterReady((message) => {
        context.note(message);
      });
    }
    const { fatal } = await parent.ended;
    if (fatal !== null) throw new CliError(fatal.message, exitCodeOf(fatal.code));
  } finally {
    release();
  }
}

/** Waits until all processes run and the samples are done. */
async function comeUp(
  context: Context,
  options: UpOptions,
  watcher: Watcher,
  signal: AbortSignal,
): Promise<readonly SampleState[]> {
  await watcher.until((state) => state.processes.some((p) => p.name === 'api' && p.phase === 'running'));
  const samples =
    options.samples === true
      ? await deploySamples({
          api: freshApi(context),
          folder: samplesFolder(musterRoot),
          memory: samplesMemory(context.settings.dataDir),
          timeoutMs: SAMPLES_TIMEOUT_MS,
          signal,
          onChange: (states, notices) => {
            watcher.onSamples(states, notices);
          },
        })
      : [];
  await watcher.until((state) => state.phase === 'ready');
  return samples;
}

/** The token and the ports are known only now that the parent has made them. */
function freshApi(context: Context): Api {
  const { apiUrl, token } = locate(context.env, context.settings);
  return createApi(apiUrl, token);
}

function tellNextSteps(
  context: Context,
  watcher: Watcher,
  samples: readonly SampleState[],
  isDetached: boolean,
): void {
  const { state, notices } = watcher.picture;
  if (state === null) return;
  const ready = samples.filter((s) => s.outcome === 'ready').map((s) => s.name);
  context.print(`\n${nextSteps(state, ready, isDetached)}`);
  for (const { name, text } of samples.filter((s) => s.outcome === 'failed')) {
    context.note(`\n${name} is not ready. ${text}\nLook at it with: npx muster describe ${name}`);
  }
  for (const notice of notices) context.note(`Note: ${notice}`);
}

function stopOnSignals(parent: ParentProcess, onFirst: () => void): () => void {
  let count = 0;
  const stop = () => {
    count += 1;
    if (count === 1) onFirst();
    parent.stop();
  };
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of names) process.on(name, stop);
  return () => {
    for (const name of names) process.off(name, stop);
  };
}

/** Holds the newest picture of the stack and wakes those who wait for something in it. */
class Watcher {
  picture: Picture = { state: null, samples: [], notices: [] };
  private readonly show: (picture: Picture) => void;
  private readonly waiting = new Set<() => void>();
  private say: ((message: string) => void) | undefined;

  constructor(show: (picture: Picture) => void) {
    this.show = show;
  }

  onState(state: UpState): void {
    const before = this.picture.state;
    this.picture = { ...this.picture, state };
    if (this.say === undefined) this.show(this.picture);
    else if (state.phase === 'ready') this.tellChanges(before, state, this.say);
    for (const wake of [...this.waiting]) wake();
  }

  onSamples(samples: readonly SampleState[], notices: readonly string[]): void {
    this.picture = { ...this.picture, samples, notices };
    this.show(this.picture);
  }

  async until(is: (state: UpState) => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        if (this.picture.state === null || !is(this.picture.state)) return;
        this.waiting.delete(wake);
        resolve();
      };
      this.waiting.add(wake);
      wake();
    });
  }

  /** From now on only what happens to a process is worth a line. */
  afterReady(say: (message: string) => void): void {
    this.say = say;
  }

  private tellChanges(before: UpState | null, state: UpState, say: (message: string) => void): void {
    for (const { name, phase, message, restarts } of state.processes) {
      const old = before?.processes.find((p) => p.name === name);
      if (old === undefined || old.phase === phase) continue;
      if (old.phase === 'running') say(`${name} ${message === '' ? phase : message}; it is started again`);
      else if (phase === 'running') say(`${name} runs again (start ${restarts + 1})`);
    }
  }
}
