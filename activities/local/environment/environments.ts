import { dirname, join } from 'node:path';
import type { LocalEnvironment } from '../../../domain/workload/workload.ts';
import { SingleFlight } from '../single-flight.ts';
import type { Progress } from '../transfers.ts';
import { makePythonEnvironment, pythonBin, type PythonDeps } from './python.ts';

/** Makes environments, each once however many services ask for it, and knows where their programs are. */
export class Environments {
  readonly #deps: PythonDeps;
  readonly #nodeBin: readonly string[];
  readonly #flights = new SingleFlight<void, Progress>();

  /** @param root Muster's own folder, for `node_modules/.bin` */
  constructor(deps: PythonDeps, root: string) {
    this.#deps = deps;
    this.#nodeBin = [dirname(process.execPath), join(root, 'node_modules', '.bin')];
  }

  /** Returns once the environment is whole. */
  async prepare(
    environment: LocalEnvironment,
    caller: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
  ): Promise<void> {
    if (environment.kind === 'node') return;
    const { requirements } = environment;
    const key = JSON.stringify([...requirements].sort());
    await this.#flights.run(key, (task) => makePythonEnvironment(this.#deps, requirements, task), caller);
  }

  /** Folders for PATH, the environment's own first. Launchers of ours need node, so its folder always follows. */
  async bin(environment: LocalEnvironment, signal: AbortSignal): Promise<readonly string[]> {
    if (environment.kind === 'node') return this.#nodeBin;
    return [await pythonBin(this.#deps, environment.requirements, signal), ...this.#nodeBin];
  }
}
