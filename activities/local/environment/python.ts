import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MusterError } from '../../../domain/errors.ts';
import { processIdentity } from '../replica/process-identity.ts';
import { stopServer } from '../replica/process.ts';
import type { Progress } from '../transfers.ts';
import { runTool, toolEnvironment, type CommandResult } from './python-commands.ts';

/**
 * Python environments, one a set of pinned requirements and python version, made once with venv and pip. A virtual
 * environment holds its own path and cannot be moved, so it is made where it stays; the marker file `complete`,
 * written last, tells a whole one from what a killed agent left behind.
 */
export interface PythonDeps {
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Program to make environments with. */
  readonly python?: string;
}

const marker = 'complete';
const noPython =
  "python3 is missing, so models whose runtime needs Python cannot run here: install python3 (Debian and Ubuntu: 'apt-get install python3 python3-venv'). All other models go on.";
const noVenv =
  "python3 has no working venv module, so models whose runtime needs Python cannot run here: install it (Debian and Ubuntu: 'apt-get install python3-venv'). All other models go on.";

/** What this machine's Python lacks, as a sentence; null when environments can be made. */
export async function pythonNotice(deps: PythonDeps, signal: AbortSignal): Promise<string | null> {
  const result = await python(deps, ['-c', 'import venv, ensurepip'], signal);
  if (result.missing || result.code === 127) return noPython;
  return result.code === 0 ? null : noVenv;
}

/** Folder of an environment's programs; it need not exist yet. */
export async function pythonBin(
  deps: PythonDeps,
  requirements: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  return join(await environmentFolder(deps, requirements, signal), 'bin');
}

/** Makes the environment if it is absent. The caller sees to it that no two run for one folder. */
export async function makePythonEnvironment(
  deps: PythonDeps,
  requirements: readonly string[],
  task: { readonly signal: AbortSignal; readonly report: (progress: Progress) => void },
): Promise<void> {
  const folder = await environmentFolder(deps, requirements, task.signal);
  if (await exists(join(folder, marker))) return;
  await rm(folder, { recursive: true, force: true });
  await mkdir(deps.folder, { recursive: true, mode: 0o700 });
  // One after the other, and all written before the last is removed: a failure may come sooner than its maker's note.
  let noted = Promise.resolve();
  const note = (pid: number): void => {
    noted = noted.then(() => noteMaker(folder, pid));
  };
  try {
    task.report({ done: 0, total: null, message: 'making a python environment' });
    const made = await python(deps, ['-m', 'venv', folder], task.signal, note);
    if (made.code !== 0) throw venvFailure(made);
    const installed = await runTool(
      [
        join(folder, 'bin', 'python'),
        ...['-m', 'pip', 'install', '--only-binary', ':all:', '--no-input', '--disable-pip-version-check'],
        ...['--progress-bar', 'off', '--', ...requirements],
      ],
      {
        env: toolEnvironment(deps.env),
        cwd: deps.folder,
        signal: task.signal,
        onLine: pipProgress(task.report),
        onStart: note,
      },
    );
    if (installed.code !== 0) throw pipFailure(requirements, installed);
    await writeFile(join(folder, marker), JSON.stringify({ requirements }));
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  } finally {
    await noted;
    await rm(makerFile(folder), { force: true });
  }
}

/** Removes what a killed agent left half made. Call before any is made. */
export async function cleanEnvironments(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const removed: string[] = [];
  for (const file of names.filter((name) => name.endsWith(making))) await endMaker(join(folder, file));
  for (const name of names) {
    if (await exists(join(folder, name, marker))) continue;
    await rm(join(folder, name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/**
 * A pip whose agent was killed goes on writing into a folder that the next agent makes anew. So who makes an
 * environment is noted beside it, and ended first.
 */
async function noteMaker(folder: string, pid: number): Promise<void> {
  try {
    const identity = await processIdentity(pid);
    await writeFile(makerFile(folder), JSON.stringify({ pid, identity }));
  } catch {
    // A full disk, say: the environment is not worse for it.
  }
}

async function endMaker(file: string): Promise<void> {
  try {
    const { pid, identity } = JSON.parse(await readFile(file, 'utf8')) as { pid: number; identity: string };
    await stopServer(pid, identity, 0);
  } catch {
    // It ended by itself, or its note was cut as well.
  }
}

const making = '.making';
const makerFile = (folder: string): string => `${folder}${making}`;

async function environmentFolder(
  deps: PythonDeps,
  requirements: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  for (const requirement of requirements) {
    // An option among them ("--index-url …") would change what pip does.
    if (!/^[A-Za-z0-9][^\s;]*$/.test(requirement)) {
      throw new MusterError(
        'invalid_manifest',
        `'${requirement}' is not a pinned python requirement: write name==version, without spaces and options.`,
      );
    }
  }
  const result = await python(deps, ['-c', 'import sys; print(sys.version, sys.executable)'], signal);
  if (result.missing || result.code !== 0) throw new MusterError('environment_missing', noPython);
  const text = JSON.stringify([[...requirements].sort(), result.output]);
  return join(deps.folder, createHash('sha256').update(text).digest('hex'));
}

function python(
  deps: PythonDeps,
  args: readonly string[],
  signal: AbortSignal,
  onStart?: (pid: number) => void,
): Promise<CommandResult> {
  return runTool([deps.python ?? 'python3', ...args], {
    env: toolEnvironment(deps.env),
    cwd: '/',
    signal,
    onLine: () => undefined,
    ...(onStart && { onStart }),
  });
}

/** Steps, since pip tells no bytes: a package found, downloaded or installed is one. */
function pipProgress(report: (progress: Progress) => void): (line: string) => void {
  let done = 0;
  return (line) => {
    const text = line.trim();
    if (!/^(Collecting|Downloading|Using cached|Installing|Successfully)/.test(text)) return;
    done += 1;
    report({ done, total: null, message: `pip: ${text.slice(0, 200)}` });
  };
}

function venvFailure({ output }: CommandResult): MusterError {
  if (/No space left/i.test(output)) return diskFull();
  if (/ensurepip|No module named venv/.test(output)) return new MusterError('environment_missing', noVenv);
  return new MusterError(
    'environment_missing',
    `python3 could not make an environment: ${lastLines(output)}`,
  );
}

/** Tells what waiting may cure (the network) from what it will not (a package that does not exist for this Python). */
export function pipFailure(packages: readonly string[], { output }: CommandResult): MusterError {
  const names = packages.join(', ');
  if (/No space left/i.test(output)) return diskFull();
  if (networkTrouble.test(output)) {
    return new MusterError(
      'storage_unavailable',
      `The python packages ${names} could not be downloaded: ${lastLines(output)}`,
    );
  }
  return new MusterError(
    'environment_missing',
    `The python packages ${names} could not be installed: ${lastLines(output)}`,
  );
}

/** pip's words for it. `resolver` and `ResolutionImpossible` are about versions, and no second try cures them. */
const networkTrouble =
  /connection (broken|error|refused|reset|aborted)|ConnectionError|timed out|name resolution|failed to resolve|NameResolutionError|proxyerror|cannot connect to proxy|5\d\d (server error|bad gateway)/i;

function diskFull(): MusterError {
  return new MusterError(
    'disk_full',
    "The disk of Muster's data folder is full: free some space or set MUSTER_DATA_DIR to another disk, then apply again.",
  );
}

function lastLines(output: string): string {
  return output.split('\n').slice(-5).join('\n').slice(-2_000);
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
