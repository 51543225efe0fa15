import type { Context } from '../context.ts';
import { durationOf } from '../duration.ts';
import { applyManifest, checkManifest, waitUntilReady } from '../apply.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService } from '../kinds.ts';
import { prepareManifest, readManifests, type Manifest } from '../manifests.ts';

export interface DeployOptions {
  readonly file?: readonly string[];
  readonly model?: string;
  readonly format?: string;
  readonly runtime?: string;
  readonly protocol?: string;
  readonly min?: string;
  readonly max?: string;
  readonly wait?: boolean;
  readonly timeout: string;
}

/** `muster deploy -f FILE` or `muster deploy NAME --model URI --format F`. */
export async function deploy(
  context: Context,
  name: string | undefined,
  options: DeployOptions,
): Promise<void> {
  const timeoutMs = durationOf('--timeout', options.timeout);
  const manifests = await manifestsOf(context, name, options);
  // All of several are looked at first: one that is wrong leaves none of them half deployed.
  if (manifests.length > 1) for (const manifest of manifests) await checkManifest(context.api, manifest);
  for (const manifest of manifests) {
    const outcome = await applyManifest(context.api, manifest);
    context.print(`${manifest.kind.plural}/${manifest.name} ${outcome}`);
  }
  if (options.wait !== true) return;
  for (const manifest of manifests.filter((m) => m.kind === inferenceService)) {
    await waitUntilReady(context.api, manifest, timeoutMs, (message) => {
      context.note(`${manifest.name}: ${message}`);
    });
  }
}

async function manifestsOf(
  context: Context,
  name: string | undefined,
  options: DeployOptions,
): Promise<readonly Manifest[]> {
  if (options.file !== undefined) {
    if (name !== undefined) throw new CliError('Give either -f FILE or a NAME, not both.', exitCodes.usage);
    return readManifests(options.file, context.namespace, context.io);
  }
  if (name === undefined || options.model === undefined || options.format === undefined) {
    throw new CliError('Give -f FILE, or NAME with --model URI and --format FORMAT.', exitCodes.usage);
  }
  const model = {
    modelFormat: { name: options.format },
    storageUri: options.model,
    ...(options.runtime === undefined ? {} : { runtime: options.runtime }),
    ...(options.protocol === undefined ? {} : { protocolVersion: options.protocol }),
  };
  const predictor = {
    ...(options.min === undefined ? {} : { minReplicas: count('--min', options.min) }),
    ...(options.max === undefined ? {} : { maxReplicas: count('--max', options.max) }),
    model,
  };
  const object = {
    apiVersion: inferenceService.group,
    kind: inferenceService.kind,
    metadata: { name },
    spec: { predictor },
  };
  return [prepareManifest(object, '--model', context.io.cwd, context.namespace)];
}

function count(option: string, text: string): number {
  if (!/^\d+$/.test(text))
    throw new CliError(`${option} ${text} is not a number of replicas.`, exitCodes.usage);
  return Number(text);
}
