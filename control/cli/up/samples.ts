import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import writeFileAtomic from 'write-file-atomic';
import type { Progress } from '../../../domain/control/internal-api.schema.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { messageOf } from '../../../domain/errors.ts';
import type { Api } from '../api.ts';
import { applyManifest, isServed, progressOf, transferText } from '../apply.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService, pathOf } from '../kinds.ts';
import { readManifests, type Manifest } from '../manifests.ts';
import { failureOf, isReady, phaseOf } from '../objects.ts';

/** How one sample stands, for the display. */
export interface SampleState {
  readonly name: string;
  readonly text: string;
  readonly outcome: 'pending' | 'ready' | 'failed' | 'skipped';
}

export interface SamplesDeps {
  readonly api: Api;
  /** Folder with the manifests. */
  readonly folder: string;
  /** File in the data folder that remembers what was applied. */
  readonly memory: string;
  readonly timeoutMs: number;
  readonly onChange: (samples: readonly SampleState[], notices: readonly string[]) => void;
  /** Aborted when the stack stops. */
  readonly signal: AbortSignal;
}

type Memory = Readonly<Record<string, string>>;

const POLL_MS = 250;

/**
 * Applies the samples and waits until each is ready or cannot come up. A sample that was applied before is left as
 * it is, changed by its user or not; one that its user deleted since is not brought back.
 */
export async function deploySamples(deps: SamplesDeps): Promise<readonly SampleState[]> {
  const manifests = await readManifests([deps.folder], 'default', {
    cwd: deps.folder,
    stdin: Readable.from([]),
  });
  const deadline = performance.now() + deps.timeoutMs;
  const states = new Map<string, SampleState>(
    manifests.map(({ name }) => [name, { name, text: 'waiting', outcome: 'pending' }]),
  );
  let notices: readonly string[] = [];
  const set = (name: string, text: string, outcome: SampleState['outcome']) => {
    states.set(name, { name, text, outcome });
    deps.onChange([...states.values()], notices);
  };
  await Promise.all(
    manifests.map(async (manifest) => {
      try {
        if (!(await applyOnce(deps, manifest, deadline)))
          set(manifest.name, 'deleted by its user, left so', 'skipped');
      } catch (error) {
        set(manifest.name, messageOf(error), 'failed');
      }
    }),
  );
  while (performance.now() < deadline && !deps.signal.aborted) {
    const waiting = manifests.filter(({ name }) => states.get(name)?.outcome === 'pending');
    if (waiting.length === 0) break;
    const progress = await progressOf(deps.api);
    notices = progress?.notices ?? notices;
    for (const manifest of waiting) {
      const seen = await look(deps.api, manifest, progress);
      if (seen !== null) set(manifest.name, seen.text, seen.outcome);
    }
    await sleep(POLL_MS);
  }
  for (const state of states.values()) {
    if (state.outcome === 'pending') set(state.name, `not ready in time (${state.text})`, 'failed');
  }
  return [...states.values()];
}

/** @returns false when the user deleted it. */
async function applyOnce(deps: SamplesDeps, manifest: Manifest, deadline: number): Promise<boolean> {
  const hash = createHash('sha256').update(JSON.stringify(manifest.object)).digest('hex');
  for (;;) {
    try {
      const known = remember(deps.memory)[manifest.name];
      if (known !== undefined) {
        const present = await deps.api.find(pathOf(manifest.kind, manifest.namespace, manifest.name));
        if (present === null) return false;
        if (known === hash) return true;
      }
      await applyManifest(deps.api, manifest);
      const memory = { ...remember(deps.memory), [manifest.name]: hash };
      writeFileAtomic.sync(deps.memory, `${JSON.stringify(memory, null, 2)}\n`, { mode: 0o600 });
      return true;
    } catch (error) {
      // Just started: the control API may be up before Temporal and the worker are.
      const isEarly = error instanceof CliError && error.exitCode === exitCodes.unreachable;
      if (!isEarly || performance.now() > deadline || deps.signal.aborted) throw error;
      await sleep(POLL_MS);
    }
  }
}

function remember(file: string): Memory {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Memory;
  } catch {
    return {};
  }
}

async function look(
  api: Api,
  { namespace, name }: Manifest,
  progress: Progress | null,
): Promise<Pick<SampleState, 'text' | 'outcome'> | null> {
  const service = (await api
    .find(pathOf(inferenceService, namespace, name))
    .catch(() => null)) as InferenceService | null;
  if (service === null) return null;
  if (isReady(service)) {
    if (await isServed(api, { namespace, name })) return { text: 'Ready', outcome: 'ready' };
    return { text: 'Starting again', outcome: 'pending' };
  }
  const failure = failureOf(service);
  if (failure !== null) return { text: failure, outcome: 'failed' };
  const phase = phaseOf(service);
  if (phase === 'Stopped') return { text: 'Stopped', outcome: 'skipped' };
  const transfers = (progress?.transfers ?? []).filter((t) => t.namespace === namespace && t.name === name);
  return { text: [phase, ...transfers.map(transferText)].join(', '), outcome: 'pending' };
}

export const samplesFolder = (root: string): string => join(root, 'deploy', 'samples');
export const samplesMemory = (dataDir: string): string => join(dataDir, 'samples.json');
