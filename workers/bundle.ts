import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';
import type { Logger } from '@temporalio/worker';
import writeFileAtomic from 'write-file-atomic';

export interface WorkflowBundle {
  readonly code: string;
  /** First 12 hex digits of the code's SHA-256: the worker deployment version that runs it. */
  readonly buildId: string;
}

export interface BundleOptions {
  /** Folder for finished bundles; absent: nothing is kept. */
  readonly cache?: string;
  /** The module that exports the workflows. */
  readonly workflowsPath?: string;
  readonly logger?: Logger;
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const keptBundles = 5;

/**
 * The workflows as one file for the sandbox. Webpack takes seconds, so the result is kept under a hash of all that
 * it is made of: the sources of workflows and domain, and the SDK. The same sources give the same bundle, byte for
 * byte, so its hash names the build.
 */
export async function bundleWorkflows(options: BundleOptions = {}): Promise<WorkflowBundle> {
  const workflowsPath = options.workflowsPath ?? join(root, 'workflows/index.ts');
  if (options.cache === undefined) return describe(await webpack(workflowsPath, options.logger));
  const file = join(options.cache, `${await sourceHash(workflowsPath)}.js`);
  if (existsSync(file)) return describe(await readFile(file, 'utf8'));
  const code = await webpack(workflowsPath, options.logger);
  try {
    await mkdir(options.cache, { recursive: true });
    await writeFileAtomic(file, code);
    await forgetOldest(options.cache);
  } catch (error) {
    // A full disk costs the next start some seconds, and nothing else.
    options.logger?.warn('the workflow bundle could not be kept', { error });
  }
  return describe(code);
}

function describe(code: string): WorkflowBundle {
  return { code, buildId: createHash('sha256').update(code).digest('hex').slice(0, 12) };
}

async function webpack(workflowsPath: string, logger: Logger | undefined): Promise<string> {
  const { code } = await bundleWorkflowCode({ workflowsPath, ...(logger ? { logger } : {}) });
  return code;
}

async function sourceHash(workflowsPath: string): Promise<string> {
  const require = createRequire(import.meta.url);
  const { version } = require('@temporalio/worker/package.json') as { version: string };
  const hash = createHash('sha256').update(`${version}\n${process.version}\n`);
  for (const folder of [dirname(workflowsPath), join(root, 'domain')]) {
    for (const file of await sources(folder)) {
      hash
        .update(`${relative(folder, file)}\n`)
        .update(await readFile(file))
        .update('\n');
    }
  }
  return hash.digest('hex').slice(0, 32);
}

async function sources(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Each change of the sources leaves a bundle behind; only the newest few are of use. */
async function forgetOldest(folder: string): Promise<void> {
  const files = (await readdir(folder))
    .filter((name) => name.endsWith('.js'))
    .map((name) => join(folder, name));
  const aged = await Promise.all(files.map(async (file) => ({ file, mtimeMs: (await stat(file)).mtimeMs })));
  aged.sort((a, b) => b.mtimeMs - a.mtimeMs);
  await Promise.all(aged.slice(keptBundles).map(({ file }) => rm(file, { force: true })));
}
